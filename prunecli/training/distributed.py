"""Several processes that train one network together: torch's process group and DistributedDataParallel.

Whatever ends one of them ends all: the others find its connections closed, or are told to stop by torchrun.
The first that knows claims to say it, and the rest are silent.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from torch import distributed, nn
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from prunecli.errors import ImpossibleError, PruneError, UsageError, first_line
from prunecli.report.text import plural
from prunecli.subjects import choose_device
from prunecli.training.launched import Launched, ToldElsewhereError, launched, said_once

T = TypeVar("T")

PATIENCE = timedelta(minutes=5)
"""How long a process waits for the others, which meanwhile may read data or write a state."""

_STRIDE = 0x9E3779B1
_started = count()


@dataclass(frozen=True)
class Team:
    """This process is number ``rank`` of ``size``. All of them call the same methods in the same order."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """It alone prints and writes."""
        return self.rank == 0

    def seed(self, seed: int) -> int:
        """Its own, so that not all drop the same units; that of process 0 is ``seed``."""
        return (seed + _STRIDE * self.rank) % 2**32

    def told(self, value: T) -> T:
        """What process 0 has."""
        if self.size == 1:
            return value
        held = [value]
        distributed.broadcast_object_list(held, 0)
        return held[0]

    def gathered(self, value: T) -> list[T]:
        """What each has, in order."""
        if self.size == 1:
            return [value]
        found: list[Any] = [None] * self.size
        distributed.all_gather_object(found, value)
        return found

    def added(self, values: Sequence[float]) -> list[float]:
        """The sums over all processes."""
        if self.size == 1:
            return list(values)
        held = torch.tensor(values, dtype=torch.float64)
        distributed.all_reduce(held)
        return cast(list[float], held.tolist())

    def share_buffers(self, module: nn.Module) -> None:
        """Statistics of norms that were not synchronised, say: all take those of process 0."""
        if self.size > 1:
            for buffer in module.buffers():
                distributed.broadcast(buffer, 0)

    def synchronised(self, network: nn.Module, device: torch.device) -> nn.Module:
        """``network`` with batch norms that take the statistics over all processes, where torch has them: on
        CUDA. Classes derived from torch's may do more than it, and stay.
        """
        if self.size == 1 or device.type != "cuda":
            return network
        if _is_plain_norm(network):
            return _synchronised(network)
        for parent in list(network.modules()):
            for name, child in parent.named_children():
                if _is_plain_norm(child):
                    setattr(parent, name, _synchronised(child))
        return network

    def notes(self, network: nn.Module) -> list[str]:
        """What training together changes of what comes out."""
        if self.size == 1:
            return []
        own = sum(
            getattr(module, "running_mean", None) is not None and not isinstance(module, nn.SyncBatchNorm)
            for module in network.modules()
        )
        said = [f"trained by {self.size} processes"]
        if own:
            said.append(
                f"{plural(own, 'norm')} took the statistics of each process's own samples, and those of "
                "process 0 are written"
            )
        return said

    def parallel(self, network: nn.Module, device: torch.device, unused: bool) -> nn.Module:
        """``network``, its gradients averaged over the processes. ``unused``: some parameters get none."""
        places = [device] if device.type == "cuda" else None
        return DistributedDataParallel(network, places, find_unused_parameters=unused)


ALONE = Team()


def _synchronised(norm: nn.Module) -> nn.Module:
    return cast(nn.Module, nn.SyncBatchNorm.convert_sync_batchnorm(norm))  # type: ignore[no-untyped-call]


def _is_plain_norm(module: nn.Module) -> bool:
    kind = type(module)
    return kind.__module__ == "torch.nn.modules.batchnorm" and not isinstance(module, nn.SyncBatchNorm)


def device_of(name: str, here: Launched) -> torch.device:
    """As ``choose_device``, and of several processes on a machine each has a GPU of its own. Raises
    ``UsageError``.
    """
    if here.size == 1:
        return choose_device(name)
    if name == "auto" and not torch.cuda.is_available():
        return torch.device("cpu")
    device = choose_device(name)
    if device.type == "cpu":
        return device
    if device.type != "cuda" or (device.index is not None and here.beside > 1):
        raise UsageError(
            f"the {here.beside} processes on this machine cannot share device '{name}'",
            "--device cuda gives each its own; or --device cpu",
        )
    there = torch.cuda.device_count()
    if here.beside > there:
        raise UsageError(
            f"torchrun started {here.beside} processes on a machine with {plural(there, 'GPU')}",
            f"--nproc-per-node {there}, or --device cpu",
        )
    return torch.device("cuda", here.local if device.index is None else device.index)


@contextmanager
def joined(device_name: str, state: Path | None) -> Iterator[tuple[Team, torch.device]]:
    """The processes that torchrun started, together; alone where it did not. ``state`` is what a run that
    ends before its time goes on from. After an error SIGTERM is ignored: the process has to say why it ends.
    """
    here = launched()
    if here.size == 1:
        yield ALONE, choose_device(device_name)
        return
    store = _meeting(here)
    before = _stoppable()
    try:
        device = device_of(device_name, here)
        _start(store, here, device)
        yield Team(here.rank, here.size), device
    except (Exception, KeyboardInterrupt) as error:
        _signals(signal.SIG_IGN)
        first = _claimed(store)
        _end_after_error()
        if not first:
            raise ToldElsewhereError from error
        if _is_lost(error):
            raise _lost(here, state) from error
        raise
    distributed.destroy_process_group()
    _signals(before)


def _meeting(here: Launched) -> Any:
    """Where processes find each other. Under a name of its own, since one process may train twice."""
    try:
        store, _, _ = next(rendezvous("env://", timeout=PATIENCE))
    except (RuntimeError, ValueError) as error:
        raise said_once(
            ImpossibleError(
                f"the {here.size} processes did not find each other: {first_line(error)}",
                "torchrun --nproc-per-node N -m prunecli finetune ...; unset RANK WORLD_SIZE for one",
            )
        ) from error
    return distributed.PrefixStore(f"prunecli/{next(_started)}", store)  # type: ignore[attr-defined]


def _start(store: Any, here: Launched, device: torch.device) -> None:
    on_gpu = device.type == "cuda"
    if on_gpu:
        torch.cuda.set_device(device)
    distributed.init_process_group(
        "cpu:gloo,cuda:nccl" if on_gpu else "gloo",
        store=store, rank=here.rank, world_size=here.size, timeout=PATIENCE,
    )  # fmt: skip


def _end_after_error() -> None:
    """The others know once this process has ended. NCCL would wait for what they were to send."""
    if distributed.is_initialized() and distributed.get_backend() == "gloo":
        with suppress(RuntimeError):
            distributed.destroy_process_group()


class _Stopped(Exception):  # noqa: N818
    """Torchrun asks a process to end, as it does when another one has."""


def _stoppable() -> Any:
    """Let an end that is asked for be said like any other; returns what was done about it before."""

    def stop(*_: object) -> None:
        raise _Stopped("told to stop")

    return _signals(stop)


def _signals(handler: Any) -> Any:
    if threading.current_thread() is threading.main_thread():
        return signal.signal(signal.SIGTERM, handler)
    return None


def _claimed(store: Any) -> bool:
    """Whether this is the first process to end."""
    with suppress(RuntimeError):
        return bool(store.add("ended", 1) == 1)
    return True


def _is_lost(error: BaseException) -> bool:
    """Whether it is but what the end of another process looks like from here."""
    if isinstance(error, PruneError):
        return False
    text = str(error).lower()
    return isinstance(error, (_Stopped, distributed.DistError)) or (
        isinstance(error, RuntimeError) and any(word in text for word in ("gloo", "nccl", "closed by peer"))
    )


def _lost(here: Launched, state: Path | None) -> ImpossibleError:
    if state is not None and state.exists():
        kept, hint = f"; {state.name} is as it was last written", "go on with --resume"
    else:
        kept, hint = "", "start it again"
    return ImpossibleError(
        f"training ended: another of its {here.size} processes is gone, or torchrun was told to stop{kept}",
        hint,
    )
