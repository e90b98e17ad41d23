from __future__ import annotations

import re

import pytest

from prunecli.report.html.charts import BARS, TALL, Stop, course, histogram, skyline, strip, thinned


def heights(path: str, wide: int = 1) -> list[int]:
    """What a path draws, read back: the height above the ground of each bar."""
    level, found = 0, []
    for step, size in re.findall(r"([vh])(-?\d+)", path):
        if step == "v":
            level -= int(size)
        else:
            found += [level] * (int(size) // wide)
    return found


def test_bars_by_hand() -> None:
    assert skyline([1, 1, 0, 2], 2) == f"M0 {TALL}v-12h2v12h1v-24h1V{TALL}"
    assert heights(skyline([1, 1, 0, 2], 2)) == [12, 12, 0, 24]
    assert heights(skyline([0, 0], 0)) == [0, 0]
    assert heights(skyline([3, 6], 6, 10), 10) == [12, 24]


def test_before_and_after_have_one_scale() -> None:
    before, after = re.findall(r' d="([^"]*)"', strip("width", "units", [8, 4], [4, 4]))
    assert (heights(before), heights(after)) == ([24, 12], [12, 12])


def test_more_layers_than_pixels_share_bars() -> None:
    assert list(thinned([1, 2, 3])) == [1, 2, 3]
    values = list(range(2 * BARS + 1))
    found = thinned(values)
    assert len(found) <= BARS
    assert found[0] == 2
    assert found[-1] == values[-1]


def test_a_histogram_says_what_it_draws() -> None:
    drawn = histogram([4, 2, 0], [4, 1, 0])
    assert 'aria-label="4 2 0; removed 4 1 0"' in drawn
    whole, gone = re.findall(r' d="([^"]*)"', drawn)
    assert (heights(whole, 10), heights(gone, 10)) == ([24, 12, 0], [24, 6, 0])
    assert "gone" not in histogram([1, 1], [0, 0])


def test_a_course_goes_through_every_figure() -> None:
    """Heights of points are read back from the lines of the grid, which are 10 % apart."""
    stops = [
        Stop("dense", (0.9,)),
        Stop("cut", (0.5,)),
        Stop("training", (0.6, 0.7, 0.8)),
        Stop("end", (0.8,)),
    ]
    drawn = course("Top-1", stops)
    line = re.search(r'class="line" d="M([^"]*)"', drawn)
    assert line is not None
    points = [tuple(map(int, point.split())) for point in line[1].split("L")]
    assert [x for x, _ in points] == sorted(x for x, _ in points)
    rules = [int(y) for y in re.findall(r'class="rule" d="M\d+ (\d+)H', drawn)]
    shares = [int(share) / 100 for share in re.findall(r">(\d+)%</text>", drawn)]
    assert shares == [0.5, 0.6, 0.7, 0.8, 0.9]
    there = dict(zip(rules, shares, strict=True))
    assert [there[y] for _, y in points] == [0.9, 0.5, 0.6, 0.7, 0.8, 0.8]
    assert "training, 3 epochs" in drawn
    assert 'aria-label="Top-1: dense 90.00%; cut 50.00%; training 80.00%; end 80.00%"' in drawn


@pytest.mark.parametrize("value", [0.0, 1.0, 0.5])
def test_equal_figures_have_a_scale(value: float) -> None:
    drawn = course("Top-1", [Stop("a", (value,)), Stop("b", (value,))])
    assert "nan" not in drawn
    assert drawn.count("<circle") == 2
