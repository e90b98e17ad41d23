"""Training by several processes: ``torchrun ddp_training.py FOLDER``, or by one without torchrun.

The same run in float64, with GroupNorm and without augmentation, on two sets of data; then runs that end
before their time. What came of them is ``FOLDER/PROCESSES-RANK.pt``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from training_examples import kept_at, loop_of, pictures, small

from prunecli.data.samples import Batch, Samples
from prunecli.errors import InputError, OutputError, PruneError
from prunecli.quality import measure
from prunecli.training import distributed
from prunecli.training import loop as loops
from prunecli.training.distributed import Team, joined
from prunecli.training.launched import launched
from prunecli.training.loop import Loop

STEPS, BATCH = 50, 6
LAST = {23: "in unequal parts", 21: "whole, since it is too small for two"}
"""The last step of an epoch of so many samples, of which the others have six."""


def doubled(samples: Samples) -> Samples:
    batch = samples.batches[0]
    return Samples((Batch(batch.inputs.map(torch.Tensor.double), batch.labels),), "made up", classes=3)


def judge(network: nn.Module) -> Any:
    return measure({"": network}, doubled(pictures(9, 2)))[""]


def trained(folder: Path, count: int) -> dict[str, Any]:
    with joined("cpu", None) as (team, _):
        network = small("group", dropout=0.0).double()
        network.spare = nn.Linear(2, 2).double()  # gets no gradient
        steps = -(-count // BATCH)
        own = folder / str(team.size)
        own.mkdir(exist_ok=True)
        loop = loop_of(
            network, doubled(pictures(count)), kept_at(own, seconds=1e6), epochs=-(-STEPS // steps),
            batch_size=BATCH // team.size, schedule="cosine", clip=1.0, ema=0.9, team=team,
        )  # fmt: skip
        loop.judge = judge
        # Where there are several processes each also takes its part in pieces.
        loop.stepper.micro = 2 if team.size > 1 and count == 21 else 0
        average = loop.run()
    rows = [(row.loss, row.top1, row.lr, row.samples) for row in loop.rows]
    return {"network": network.state_dict(), "average": average.state_dict(), "rows": rows}


def unweighted(folder: Path, count: int) -> dict[str, Any]:
    """As if the mean over a process's own samples were enough."""
    right = loops.share
    loops.share = lambda *given: replace(right(*given), whole=float(len(right(*given).places)))
    try:
        return trained(folder, count)
    finally:
        loops.share = right


def raising(rank: int, error: Callable[[], Exception]) -> Callable[[Team, Loop], None]:
    def spoil(team: Team, loop: Loop) -> None:
        def step(*_: object) -> None:
            if team.rank == rank and loop.stepper.network.training and loop.rows:
                raise error()

        loop.stepper.network.register_forward_pre_hook(step)

    return spoil


def not_finite(team: Team, loop: Loop) -> None:
    """In process 1 alone: its picture of the next epoch."""
    if team.rank == 1:
        loop.on_epoch = lambda _: loop.deck.samples.batches[0].inputs.tensors[0].fill_(float("nan"))


ENDS: dict[str, Callable[[Team, Loop], None]] = {
    "not finite": not_finite,
    "input": raising(1, lambda: InputError("the third picture is torn")),
    "disk": raising(0, lambda: OutputError("no room")),
    "memory": raising(1, lambda: torch.OutOfMemoryError("out of memory")),
    "defect": raising(1, lambda: RuntimeError("shapes do not match")),
}


def ended(folder: Path, spoil: Callable[[Team, Loop], None]) -> tuple[str, str]:
    """What it was in this process."""
    try:
        with joined("cpu", folder / "run.state.pt") as (team, _):
            loop = loop_of(small(), None, kept_at(folder, seconds=1e6), batch_size=3, epochs=3, team=team)
            spoil(team, loop)
            loop.run()
    except (PruneError, RuntimeError) as error:
        return type(error).__name__, str(error)
    return "", ""


def in_child(work: Callable[[], None]) -> None:
    """A process that has imported everything already, and ends like any other."""
    child = os.fork()
    if not child:
        work()
        os._exit(0)
    os.waitpid(child, 0)


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    here = launched()
    for name, spoil in ENDS.items() if here.size > 1 else ():
        place = folder / name
        place.mkdir(exist_ok=True)
        in_child(lambda: torch.save(ended(place, spoil), place / f"{here.rank}.pt"))  # noqa: B023
        # No two may meet under one name, and this process does not see that the child took one.
        next(distributed._started)
    found: dict[str, Any] = {f"trained {count}": trained(folder, count) for count in LAST}
    if here.size > 1:
        found["unweighted"] = unweighted(folder, 23)
    torch.save(found, folder / f"{here.size}-{here.rank}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
