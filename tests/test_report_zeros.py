from __future__ import annotations

from rich.console import Console

from prunecli.report.sparse import LayerSparsity
from prunecli.report.zeros import table


def drawn(*rows: LayerSparsity) -> list[list[str]]:
    console = Console(width=200)
    with console.capture() as printed:
        console.print(table(rows))
    return [line.split() for line in printed.get().splitlines() if line.strip()]


def test_columns_follow_what_is_known() -> None:
    first = LayerSparsity("a.conv", 200, 50, 1, 8, 2, 1, 3, 0.25)
    second = LayerSparsity("table\x1b[31m", 100, 0, 0, 0, 0, 0)
    head, _, one, other, whole = drawn(first, second)
    assert head == [
        "layer",
        "params",
        "zeros",
        "near",
        "zeros",
        "channels",
        "dead",
        "equal",
        "inactive",
        "2:4",
    ]
    assert one == ["a.conv", "200", "25.0%", "0.5%", "8", "2", "1", "3", "25.0%"]
    assert other == ["table\\x1b[31m", "100", "0.0%", "0.0%", "-", "-", "-", "-", "-"]
    assert whole[-7:] == ["300", "16.7%", "0.3%", "8", "2", "1", "3"]
    assert "inactive" not in drawn(LayerSparsity("x", 4, 0, 0, 2, 0, 0))[0]
