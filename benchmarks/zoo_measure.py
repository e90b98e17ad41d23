"""What is measured of one network of the zoo, in the process that was forked for it."""

from __future__ import annotations

import ctypes
import gc
import os
import re
import resource
from collections import Counter
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import torch
from torch import nn
from zoo_models import Case, Entry, with_values

from prunecli import inputs as input_room
from prunecli.assembly import all_tensors, rebuilt
from prunecli.counting import count
from prunecli.coupling import Space, trace
from prunecli.coupling.axes import groups_in
from prunecli.errors import first_line
from prunecli.inputs import Inputs
from prunecli.proofs import ORACLE, Subject, pruned
from prunecli.selection import Choice, Target, choose

RATIO = 0.5


def resident() -> float:
    """MiB in memory now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def forget_peak() -> None:
    """Hand free memory back and start the peak anew; else the construction of the network would hide it."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")


def peak() -> float:
    """MiB at the highest since ``forget_peak``."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    if found is None:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return int(found[1]) / 1024


def at_half(entry: Entry, counting: bool = True) -> dict[str, Any]:
    """Trace, remove half of every group, prove and count. What fails stands under ``error``, with the
    stage.
    """
    row: dict[str, Any] = {"stage": "build"}
    try:
        case = entry.build()
        with_values(case.module)
        row |= {"params": sum(p.numel() for p in case.module.parameters()), "stage": "trace"}
        forget_peak()
        loaded, began, busy = resident(), perf_counter(), process_time()
        space = trace(rebuilt(case.module, all_tensors(case.module)), given(case))
        row |= {"trace_s": round(perf_counter() - began, 3), "trace_cpu_s": round(process_time() - busy, 3)}
        row |= {"groups": len(space.groups), "stage": "choose"}
        row |= reach(case.module, space)
        tensors = {name: tensor.detach() for name, tensor in all_tensors(case.module).items()}
        began = perf_counter()
        choice = choose(
            space, tensors, criterion="magnitude-l2", scheme="local", target=Target("ratio", RATIO)
        )
        row |= {"choose_s": round(perf_counter() - began, 3), "notes": choice.notes}
        row |= {"memory": round(peak() / loaded, 3), "loaded_mib": round(loaded), "stage": "prove"}
        row |= solved(space, choice)
        row |= proofs(case, space, choice)
        if counting:
            row["stage"] = "count"
            row |= counts(case, space, choice)
        row["stage"] = "done"
    except (Exception, SystemExit) as error:
        row["error"] = f"{type(error).__name__}: {first_line(error)}"
        row["at"] = _innermost(error)
    return row


def given(case: Case) -> Inputs:
    """The inputs as forward gets them."""
    return Inputs(named=case.inputs) if isinstance(case.inputs, dict) else Inputs(case.inputs)


def _innermost(error: BaseException) -> str:
    """File and line where it was raised."""
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    return "" if place is None else f"{Path(place.tb_frame.f_code.co_filename).name}:{place.tb_lineno}"


def reach(module: nn.Module, space: Space) -> dict[str, Any]:
    """The share of parameter elements that stand in a dimension whose size can change, and why the others
    do not.
    """
    free = {member.group for bundle in space.bundles for member in bundle.members}
    pins: dict[tuple[str, int], list[str]] = {}
    for pin in (*space.pieces, *space.pinned):
        pins.setdefault((pin.parameter, pin.dim), []).append(pin.reason)
    frozen = {group.name: group.frozen for group in space.groups if group.frozen is not None}
    lost: Counter[str] = Counter()
    total = reached = 0
    for name, parameter in module.named_parameters():
        total += parameter.numel()
        inside = [groups_in(axis) for axis in space.axes[name]]
        if any(group in free for groups in inside for group in groups):
            reached += parameter.numel()
            continue
        reasons = [frozen[group] for groups in inside for group in groups if group in frozen]
        reasons += [reason for dim in range(parameter.dim()) for reason in pins.get((name, dim), ())]
        lost[
            " / ".join(dict.fromkeys(map(without_path, reasons))) or "no unit of it reaches a parameter"
        ] += parameter.numel()
    shares = [(reason, round(elements / max(1, total), 4)) for reason, elements in lost.most_common(5)]
    return {
        "reach": round(reached / max(1, total), 4),
        "lost": shares,
        "frozen": Counter(map(without_path, frozen.values())).most_common(5),
        "unknown": space.unknown_operators,
    }


def without_path(reason: str) -> str:
    """``reason`` with the numbers of repeated blocks left out, so that equal ones count together."""
    return re.sub(r"(?<=[\w.])\.\d+(?=\.|\b)", ".*", reason)


def solved(space: Space, choice: Choice) -> dict[str, Any]:
    """Whether the sizes chosen satisfy every guard, and how many groups lost a unit, of those that may."""
    sizes = {**space.sizes, **choice.plan.sizes}
    return {
        "solved": all(guard.holds(sizes) for guard in space.guards),
        "cut": len(choice.plan.keep),
        "free": sum(len(bundle.members) for bundle in space.bundles),
        "value_changing": sum(group.value_changing is not None for group in space.groups),
    }


def proofs(case: Case, space: Space, choice: Choice) -> dict[str, Any]:
    """The masked oracle in float64 where it can be asked, and one forward of everything cut."""
    tensors = {name: tensor.detach() for name, tensor in all_tensors(case.module).items()}
    macs = space.macs.value(space.sizes)
    specs = input_room.describe(case.inputs, case.module)
    smaller = input_room.smaller(specs, macs)
    choices = [given(case)] if smaller == specs else [input_room.make(smaller), given(case)]
    subject = Subject.open(case.module, tensors, space, choices)
    keep = choice.plan.keep
    found = subject.prove(keep)
    oracle = next((proof for proof in found if proof.name == ORACLE), None)
    row: dict[str, Any] = {
        "dtype": str(subject.dtype).removeprefix("torch."),
        "forward": not any("forward raised" in proof.detail for proof in found if not proof.passed),
        "oracle": None if oracle is None else oracle.error,
        "oracle_detail": "every group is value-changing" if oracle is None else oracle.detail,
        "proved": all(proof.passed for proof in found),
    }
    if not row["proved"]:
        row["proof_details"] = [proof.detail for proof in found if not proof.passed]
        row["culprits"] = dict(list(subject.culprits(keep).items())[:8])
    return row


def counts(case: Case, space: Space, choice: Choice) -> dict[str, Any]:
    """The cost formula against the counter, dense and pruned."""
    result: dict[str, Any] = {}
    small = pruned(case.module, space, choice.tensors, choice.plan.keep)
    for label, module, sizes in (
        ("dense", case.module, space.sizes),
        ("pruned", small, {**space.sizes, **choice.plan.sizes}),
    ):
        copy = rebuilt(module, all_tensors(module)).eval()
        counted = count(copy, given(case), left_out=space.other_macs.value(sizes))
        result |= {f"{label}_macs": counted.total, f"{label}_formula": space.macs.value(sizes)}
        result["counter"] = counted.counter
    return result


torch.set_num_threads(1)
