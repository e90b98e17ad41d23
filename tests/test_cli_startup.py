"""What it costs to start, measured in fresh processes."""

from __future__ import annotations

import resource

import pytest
from cli_runner import run_fresh

_HEAVY = """
import sys
from prunecli.cli import main
sys.excepthook = sys.__excepthook__
code = main(sys.argv[1:])
loaded = [name for name in ("torch", "torchvision", "numpy", "rich", "timm") if name in sys.modules]
sys.stderr.write("loaded: " + ",".join(loaded))
sys.exit(code)
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["run", "--help"],
        ["--version"],
        ["--show-completion", "bash"],
        ["run", "missing.pth", "--speedup", "2"],
        ["run", "missing.pth", "--speedup", "2", "--criterion", "magnitud"],
        ["inspect", "missing.pth"],
        ["eval", "--help"],
        ["eval", "missing.pth", "--data", "digits"],
        ["eval", "missing.pth", "--data", "digit"],
        ["explain", "missing.pth", "conv1"],
        ["score", "--help"],
        ["score", "missing.pth", "--criterion", "lamp,random"],
        ["score", "missing.pth", "--criterion", "taylor"],
        ["run", "missing.pth", "--speedup", "2", "--criterion", "taylor"],
        ["finetune", "--help"],
        ["finetune", "missing.pth", "--data", "digits"],
        ["finetune", "missing.pth", "--data", "digits", "--optimizer", "adam"],
        ["diff", "--help"],
        ["diff", "missing.pth", "missing.json", "--max-params", "5M"],
        ["ls", "nothing"],
    ],
)
def test_no_heavy_import(arguments: list[str]) -> None:
    ran = run_fresh(*arguments, code=_HEAVY)
    assert ran.err.endswith("loaded: "), ran.err


@pytest.mark.parametrize(
    "arguments", [["--help"], ["run", "--help"], ["--show-completion", "zsh"], ["--version"]]
)
def test_under_three_tenths_of_a_second(arguments: list[str]) -> None:
    def once() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        run_fresh(*arguments)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    # Processor time, and the best of several: on a machine busy with other tests the clock measures those.
    assert min(once() for _ in range(5)) < 0.3


def test_the_package_itself_does_not_import_torch() -> None:
    code = "import sys, prunecli, prunecli.cli, prunecli.cli.app; sys.exit('torch' in sys.modules)"
    assert run_fresh(code=code).code == 0
