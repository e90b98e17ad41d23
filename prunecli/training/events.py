"""TensorBoard's event files beside ``metrics.jsonl``, where the extra ``tensorboard`` is installed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from time import time_ns

from prunecli.checkpoint.atomic import as_output_error
from prunecli.report.trained import EpochRow


def folder_of(metrics: Path) -> Path:
    """``OUT.events`` for ``OUT.metrics.jsonl``."""
    return metrics.with_name(f"{metrics.name.removesuffix('.jsonl').replace('.metrics', '')}.events")


def write_events(metrics: Path, row: EpochRow) -> None:
    """Add an epoch; later ones that an earlier run left there are not shown any more. Nothing without the
    package. Raises ``OutputError``.
    """
    if find_spec("tensorboard") is None:
        return
    from torch.utils.tensorboard import SummaryWriter

    # One file per epoch: nothing is held open, and what a killed process leaves is whole.
    folder = folder_of(metrics)
    with as_output_error(metrics):
        before = set(folder.glob("*"))
        with SummaryWriter(folder, purge_step=row.epoch) as writer:
            for name, value in _scalars(row):
                writer.add_scalar(name, value, row.epoch)
        for made in set(folder.glob("*")) - before:
            made.rename(made.with_name(_in_order(made.name)))


def _in_order(name: str) -> str:
    """``name`` with nanoseconds for its seconds: TensorBoard reads files in the order of their names as text,
    and with its own, ``events.out.tfevents.SECONDS.HOST.PROCESS.NUMBER``, the tenth of a second before the
    ninth.
    """
    return re.sub(r"(?<=tfevents\.)\d+", str(time_ns()), name, count=1)


def _scalars(row: EpochRow) -> Iterator[tuple[str, float]]:
    quality = row.quality
    named = {
        "loss/training": row.loss, "top1/training": row.top1, "lr": row.lr,
        "samples per second": row.samples / max(row.seconds, 1e-9),
        "loss/validation": None if quality is None else quality.loss,
        "top1/validation": None if quality is None else quality.top1,
        "agreement/validation": None if quality is None else quality.agreement,
        "error/validation": None if quality is None else quality.error,
    }  # fmt: skip
    yield from ((name, value) for name, value in named.items() if value is not None)
