from __future__ import annotations

from pathlib import Path

import pytest
from training_examples import kept_at, loop_of, small

from prunecli.report.figures import Quality
from prunecli.report.trained import EpochRow
from prunecli.training import events
from prunecli.training.events import folder_of, write_events


def read(folder: Path) -> dict[str, list[tuple[int, float]]]:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = accumulator.EventAccumulator(str(folder))
    found.Reload()
    return {
        name: [(each.step, each.value) for each in found.Scalars(name)] for name in found.Tags()["scalars"]
    }


def row(epoch: int, loss: float) -> EpochRow:
    return EpochRow(epoch, loss, 0.5, 0.01, 2.0, 100, Quality(samples=10, top1=0.25))


def test_what_tensorboard_reads_is_what_was_written(tmp_path: Path) -> None:
    metrics = tmp_path / "small.metrics.jsonl"
    for epoch, loss in ((1, 4.0), (2, 3.0)):
        write_events(metrics, row(epoch, loss))
    assert folder_of(metrics) == tmp_path / "small.events"
    assert read(tmp_path / "small.events") == {
        "loss/training": [(1, 4.0), (2, 3.0)], "top1/training": [(1, 0.5), (2, 0.5)],
        "lr": [(1, pytest.approx(0.01)), (2, pytest.approx(0.01))],
        "samples per second": [(1, 50.0), (2, 50.0)], "top1/validation": [(1, 0.25), (2, 0.25)],
    }  # fmt: skip


def test_an_epoch_that_is_made_anew_takes_its_place(tmp_path: Path) -> None:
    metrics = tmp_path / "small.metrics.jsonl"
    for epoch, loss in ((1, 4.0), (2, 3.0), (3, 9.0), (2, 2.0)):
        write_events(metrics, row(epoch, loss))
    assert read(folder_of(metrics))["loss/training"] == [(1, 4.0), (2, 2.0)]


def test_epochs_of_one_second_are_read_in_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # TensorBoard numbers files, and reads those of one second in the order of the numbers as text.
    writer = pytest.importorskip("tensorboard.summary.writer.event_file_writer")
    monkeypatch.setattr(writer, "_global_uid", writer.AtomicCounter(8))
    metrics = tmp_path / "small.metrics.jsonl"
    for epoch in range(1, 5):
        write_events(metrics, row(epoch, float(epoch)))
    assert read(folder_of(metrics))["loss/training"] == [(epoch, float(epoch)) for epoch in range(1, 5)]


def test_a_training_writes_every_epoch(tmp_path: Path) -> None:
    loop = loop_of(small(), keeping=kept_at(tmp_path))
    loop.run()
    found = read(tmp_path / "run.events")["loss/training"]
    assert found == [(each.epoch, pytest.approx(each.loss)) for each in loop.rows]


def test_without_the_package_there_is_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "find_spec", lambda name: None)
    write_events(tmp_path / "small.metrics.jsonl", row(1, 4.0))
    assert list(tmp_path.iterdir()) == []
