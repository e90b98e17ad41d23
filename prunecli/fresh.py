"""Reload a file in a process that has seen nothing else (:mod:`prunecli.processes`), and run it.

That process gets the path and a description of the inputs, never the dense file; it loads, runs on seeded
inputs and hands back the outputs.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor, get_num_threads, set_num_threads

from prunecli import processes
from prunecli.checkpoint.handover import put, take
from prunecli.checkpoint.specs import InputSpec
from prunecli.errors import PruneError
from prunecli.proofs import relative_error
from prunecli.report.model import Proof

RELOAD = "reload in a fresh process"
RELOAD_HERE = "reload in this process"
PLAIN = "plain from_pretrained in a fresh process"
TOLERANCE = 1e-4


def reload_proof(
    path: Path,
    specs: Sequence[InputSpec],
    expected: Sequence[Tensor] | None,
    arch: str | None = None,
    *,
    plainly: bool = False,
) -> Proof:
    """Load ``path`` in a new process and compare its outputs with ``expected`` (without: that they are
    finite). ``plainly``: with the library's own loader, as for a model directory whose config says it all.
    """
    name = PLAIN if plainly else RELOAD
    request = {
        "path": str(path.resolve()),
        "inputs": [spec.to_json() for spec in specs],
        "arch": arch,
        "plainly": plainly,
        "threads": get_num_threads(),
    }
    with tempfile.TemporaryDirectory(prefix="prune-") as folder:
        try:
            answer = processes.call("reload", request | {"folder": folder})
        except processes.DiedError as error:
            return Proof(name, False, None, TOLERANCE, f"{error!s:.200}")
        if answer["error"]:
            return Proof(name, False, None, TOLERANCE, f"{answer['error']:.200}")
        return replace(_compared(list(take(Path(folder), answer["outputs"]).values()), expected), name=name)


def _compared(found: list[Tensor], expected: Sequence[Tensor] | None) -> Proof:
    if expected is None:
        passed = bool(found) and all(bool(t.isfinite().all()) for t in found if t.is_floating_point())
        return Proof(
            RELOAD,
            passed,
            None,
            None,
            "it runs and its outputs are finite" if passed else "outputs not finite",
        )
    error = relative_error(expected, found)
    passed = error <= TOLERANCE
    detail = "same outputs as the network in memory" if passed else f"relative error {error:.3g}"
    return Proof(RELOAD, passed, error, TOLERANCE, detail)


def serve(request: Mapping[str, Any]) -> dict[str, Any]:
    """In the other process."""
    from prunecli.inputs import make
    from prunecli.loading import load
    from prunecli.proofs import evidence

    set_num_threads(request["threads"])
    specs = [InputSpec.from_json(item, "inputs") for item in request["inputs"]]
    try:
        if request["plainly"]:
            from prunecli.networks.hugging_face import load_plainly

            module = load_plainly(Path(request["path"]))
        else:
            module = load(request["path"], arch=request["arch"])
        outputs = evidence(module, make(specs))
    except PruneError as error:
        return {"error": error.message, "outputs": []}
    named = {str(index): tensor.contiguous() for index, tensor in enumerate(outputs)}
    return {"error": "", "outputs": put(Path(request["folder"]), named)}
