"""``prune run --speedup 2 --repair none`` of one network of the zoo: saved, reloaded, compared."""

from __future__ import annotations

import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

from zoo_models import Entry, with_values

import prunecli
from prunecli.errors import PruneError, first_line

SPEEDUP = 2.0


def at_target(entry: Entry) -> dict[str, Any]:
    """What was reached, whether the file reloaded as the same network (in a fresh process where the network
    has a name), and the exit code with its reason where there is no file.
    """
    row: dict[str, Any] = {"stage": "build"}
    try:
        case = entry.build()
        with_values(case.module)
        row["stage"] = "prune"
        began = perf_counter()
        result = prunecli.prune(
            case.module, example_inputs=case.inputs, arch=entry.arch, arch_args=dict(entry.arguments),
            speedup=SPEEDUP, repair="none",
        )  # fmt: skip
        row |= {"stage": "save", "speedup": result.report.target.reached}
        row["frozen_by_proof"] = [
            group.name for group in result.report.groups if "failed the proof" in (group.reason or "")
        ][:8]
        with tempfile.TemporaryDirectory() as directory:
            report = result.save(Path(directory) / "pruned.safetensors")
        reload = report.proofs[-1]
        row |= {
            "stage": "done", "exit": 0, "reloaded": reload.passed, "reload": reload.name,
            "reload_error": reload.error, "seconds": round(perf_counter() - began, 1),
        }  # fmt: skip
    except PruneError as error:
        row |= {"exit": error.exit_code, "error": f"{error.message}"}
    except (Exception, SystemExit) as error:
        # The table is about which networks break the tool, so whatever it raises is a result.
        row |= {"exit": 1, "error": f"{type(error).__name__}: {first_line(error)}"}
    return row
