"""Reload a file in a process that has seen nothing else, and run it: ``python -m prunecli.fresh``.

The child gets the path and a description of the inputs, never the dense file; it loads, runs on seeded
inputs and hands back the outputs.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from torch import Tensor, get_num_threads, set_num_threads

from prunecli.checkpoint.specs import InputSpec
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
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "outputs.safetensors"
        request["answer"] = str(answer)
        child = subprocess.run(
            [sys.executable, "-m", "prunecli.fresh"],
            input=json.dumps(request),
            capture_output=True,
            text=True,
        )
        if child.returncode:
            reason = next(reversed(child.stderr.strip().splitlines()), f"exit code {child.returncode}")
            return Proof(name, False, None, TOLERANCE, f"{reason:.200}")
        return replace(_compared(answer, expected), name=name)


def _compared(answer: Path, expected: Sequence[Tensor] | None) -> Proof:
    from safetensors.torch import load_file

    loaded = load_file(answer)
    found = [loaded[str(index)] for index in range(len(loaded))]
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


def _serve() -> None:
    from safetensors.torch import save_file

    from prunecli.inputs import make
    from prunecli.loading import load
    from prunecli.proofs import evidence

    request = json.load(sys.stdin)
    set_num_threads(request["threads"])
    specs = [InputSpec.from_json(item, "inputs") for item in request["inputs"]]
    if request["plainly"]:
        from prunecli.networks.hugging_face import load_plainly

        module = load_plainly(Path(request["path"]))
    else:
        module = load(request["path"], arch=request["arch"])
    outputs = evidence(module, make(specs))
    save_file({str(i): t.clone().contiguous() for i, t in enumerate(outputs)}, request["answer"])


if __name__ == "__main__":
    _serve()
