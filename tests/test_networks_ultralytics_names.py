"""Names are those under which ultralytics itself finds its YAML, read without importing it."""

from __future__ import annotations

import pytest
from cli_runner import run_fresh, run_here
from yolo import needs_ultralytics

from prunecli.errors import UsageError
from prunecli.networks import listed, names, ultralytics_names
from prunecli.networks.building import family_of
from prunecli.networks.ultralytics_names import plain, shipped


@pytest.fixture
def absent(monkeypatch: pytest.MonkeyPatch) -> None:
    shipped.cache_clear()
    monkeypatch.setattr(ultralytics_names, "find_spec", lambda name: None)


@needs_ultralytics
def test_scales_are_part_of_the_name() -> None:
    assert {"yolov5n", "yolov8x", "yolov8n-seg", "yolov9t", "yolov10b", "yolo11n", "yolo12s"} <= set(
        shipped()
    )
    # Without the letter ultralytics would assume one; with two it would not find the file.
    assert not {"yolov8", "yolo11-seg", "yolov10nn", "yolov9ct"} & set(shipped())
    assert (shipped()["yolov8n-seg"].path.name, shipped()["yolov8n-seg"].scale) == ("yolov8-seg.yaml", "n")
    assert (shipped()["yolov10b"].path.name, shipped()["yolov10b"].scale) == ("yolov10b.yaml", "b")
    assert shipped()["yolov9t"].scale == ""


@needs_ultralytics
def test_every_name_is_found_by_ultralytics_itself() -> None:
    code = """
import logging, sys
logging.disable(logging.CRITICAL)
from ultralytics.nn.tasks import yaml_model_load
from prunecli.networks.ultralytics_names import settings_of, shipped
for name, known in shipped().items():
    theirs = yaml_model_load(f"{name}.yaml")
    ours = settings_of(known.path)
    scales = ours.get("scales") or {"": None}
    assert theirs["head"] == ours["head"] and theirs["backbone"] == ours["backbone"], name
    assert theirs["scale"] == known.scale or list(scales) == [known.scale], name
print(len(shipped()))
"""
    ran = run_fresh(code=code, YOLO_OFFLINE="true", YOLO_VERBOSE="false", YOLO_CONFIG_DIR="/nonexistent")
    assert ran.code == 0, ran.err
    assert int(ran.out) > 100


@needs_ultralytics
def test_networks_that_want_more_than_an_image_are_not_among_them() -> None:
    assert not any("world" in name or name.startswith(("yoloe", "rtdetr")) for name in shipped())


@needs_ultralytics
def test_listing_imports_neither_ultralytics_nor_torch(capsys: pytest.CaptureFixture[str]) -> None:
    code = (
        "import sys, prunecli.networks as n; assert 'ultralytics:yolov8n' in n.listed();"
        "sys.exit(any(name in sys.modules for name in ('torch', 'ultralytics')))"
    )
    assert run_fresh(code=code).code == 0
    assert "ultralytics:yolo11n-seg" in run_here(capsys, "ls", "networks").out.splitlines()


@needs_ultralytics
@pytest.mark.parametrize("typed", ["yolov8n-seg", "yolov8n-seg.yaml"])
def test_the_ending_may_be_left_out(typed: str) -> None:
    found = family_of(f"ultralytics:{typed}")
    assert found is not None
    assert (found[0].prefix, found[1]) == ("ultralytics", "yolov8n-seg")
    assert plain(typed) == "yolov8n-seg"


@needs_ultralytics
@pytest.mark.parametrize(
    ("spec", "hint"),
    [
        ("ultralytics:yolov8", "did you mean ultralytics:yolov8"),
        ("ultralytics:../../etc/passwd", "known: "),
        ("ultralytics:own/yolov8n.yaml", "did you mean ultralytics:yolov8"),
        ("yolov8n", "did you mean ultralytics:yolov8n?"),
    ],
)
def test_other_names_are_refused_with_the_near_ones(spec: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        family_of(spec)
    assert (caught.value.hint or "").startswith(hint)


def test_without_the_package_it_is_said_what_to_install(absent: None) -> None:
    with pytest.raises(UsageError, match="ultralytics is not installed") as caught:
        family_of("ultralytics:yolov8n")
    assert caught.value.hint == 'type: pip install "prunecli[yolo]"'
    assert listed() == names()
