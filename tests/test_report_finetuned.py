from __future__ import annotations

from dataclasses import replace

from report_examples import finetuning as example
from rich.console import Console

from prunecli.report.figures import Quality
from prunecli.report.finetuned import MOST_EPOCHS, epoch_line, finetuning
from prunecli.report.trained import EpochRow, Finetuning


def shown(found: Finetuning) -> str:
    console = Console(width=200)
    with console.capture() as printed:
        console.print(*finetuning(found), sep="\n")
    return printed.get()


def test_figures_before_and_after_and_every_epoch() -> None:
    text = shown(example())
    assert "resnet50.pth -> small.finetuned.safetensors" in text
    assert "sgd, learning rate 0.01, multi-step, weight decay 0.0005, batches of 128" in text
    assert "batches of 128 in 4 processes" in shown(replace(example(), processes=4))
    (top1,) = [line for line in text.splitlines() if line.startswith("top-1")]
    assert top1.split() == ["top-1", "99.44%", "10.00%", "75.00%"]
    assert "weights of" in text and "epoch 3" in text
    epochs = [line.split() for line in text.splitlines() if line.strip()[:1] in "123" and "0.01" in line]
    assert [row[0] for row in epochs] == ["1", "2", "3"]
    assert epochs[1] == ["2", "0.01", "0.75", "50.00%", "50.00%", "0.5", "2.0", "s"]


def test_a_module_on_nothing_but_training_data() -> None:
    bare = replace(
        example(), checkpoint=None, output=None, validation=None, against=None, before=None, after=None,
        dense=None, best=None, epochs=(EpochRow(1, 2.0, None, 0.1, 0.5, 10),),
    )  # fmt: skip
    text = shown(bare)
    assert text.startswith("module")
    assert "measured on" not in text
    assert "quality" not in text


def test_a_long_training_shows_its_last_epochs() -> None:
    rows = tuple(EpochRow(epoch, 1.0, 0.5, 0.1, 1.0, 10) for epoch in range(1, 101))
    text = shown(replace(example(), epochs=rows))
    lines = [line.split() for line in text.splitlines()]
    start = lines.index(["...", str(100 - MOST_EPOCHS), "more"])
    assert [line[0] for line in lines[start + 1 :] if line] == [str(epoch) for epoch in range(81, 101)]


def test_the_line_of_an_epoch() -> None:
    row = EpochRow(3, 0.3125, 0.912, 0.01, 2.0, 1000, Quality(9, top1=0.95))
    assert epoch_line(row, 10) == (
        "epoch 3 of 10: loss 0.3125, top-1 91.20% in training, 95.00% after it, 500 samples/s, 2.0 s, "
        "14.0 s left"
    )
    bare = EpochRow(10, 0.3125, None, 0.01, 2.0, 1000)
    assert epoch_line(bare, 10) == "epoch 10 of 10: loss 0.3125, 500 samples/s, 2.0 s"
