"""The reports in ``docs/examples/``: resnet50 at twice the speed, the same with a limit that it does not
keep, and a network of a thousand layers.

``python benchmarks/examples.py [resnet50] [failed] [thousand]`` makes all, or those that are named: weights
at random from a seed, pruned by the command line as a user would type it, and the report in all four forms.
Options after ``--`` are added to the command (``-- --no-latency``). ``--redraw`` writes them anew from the
JSON that is there, when only their looks have changed. It prints how large the files are.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

EXAMPLES = Path(__file__).parent.parent / "docs" / "examples"
ENDINGS = (".html", ".md", ".csv", ".json")
MOST_BYTES = 1_000_000


def deep(blocks: int = 333, width: int = 24, inner: int = 12) -> object:
    """A convolution, ``blocks`` of three around which the stream goes, and a linear layer; no norms."""
    from torch import Tensor, nn
    from torch.nn import functional

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(width, inner, 1)
            self.conv2 = nn.Conv2d(inner, inner, 3, padding=1)
            self.conv3 = nn.Conv2d(inner, width, 1)

        def forward(self, x: Tensor) -> Tensor:
            y = functional.relu(self.conv2(functional.relu(self.conv1(x))))
            # The sum of so many branches stays as large as one of them.
            return x + self.conv3(y) / blocks**0.5

    class Deep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(3, width, 3, padding=1)
            self.stages = nn.ModuleList(
                nn.Sequential(*(Block() for _ in range(blocks // 3))) for _ in range(3)
            )
            self.head = nn.Linear(width, 10)

        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x)
            for index, stage in enumerate(self.stages):
                x = stage(functional.max_pool2d(x, 2) if index else x)
            return self.head(x.mean((2, 3)))

    return Deep()


def _resnet50() -> object:
    import torchvision

    return torchvision.models.resnet50(weights=None)


RESNET50 = ("--arch", "torchvision:resnet50", "--speedup", "2")
MADE: dict[str, tuple[Callable[[], object], tuple[str, ...], int]] = {
    "resnet50": (_resnet50, RESNET50, 0),
    "failed": (_resnet50, (*RESNET50, "--max-params", "12M", "--max-macs", "2.1G"), 4),
    "thousand": (deep, ("--arch", "examples.py:deep", "--input", "3,32,32", "--speedup", "2"), 0),
}
"""By name: the network, the options, and the exit code."""


def make(name: str, more: list[str]) -> None:
    """Draw the weights, prune, and leave the reports in ``docs/examples/``."""
    import torch

    network, options, code = MADE[name]
    torch.manual_seed(0)
    module = network()
    assert isinstance(module, torch.nn.Module)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        # The command in the report names the file as it would be beside the reader.
        (place / "examples.py").write_text(Path(__file__).read_text(encoding="utf-8"), encoding="utf-8")
        torch.save(module.state_dict(), place / f"{name}.pth")
        reports = [part for ending in ENDINGS for part in ("--report", f"{name}{ending}")]
        command = ["run", f"{name}.pth", *options, *more, *reports]
        done = subprocess.run([sys.executable, "-m", "prunecli", *command, "-q"], cwd=place)
        if done.returncode != code:
            sys.exit(f"{name}: exit code {done.returncode}, not {code}")
        EXAMPLES.mkdir(exist_ok=True)
        for ending in ENDINGS:
            (EXAMPLES / f"{name}{ending}").write_bytes((place / f"{name}{ending}").read_bytes())
    measure(name)


def redraw(name: str) -> None:
    """The other forms again, from the JSON."""
    from prunecli.report.files import rendered
    from prunecli.report.model import Report
    from prunecli.report.reading import read_report

    report = read_report(EXAMPLES / f"{name}.json")
    assert isinstance(report, Report)
    for ending in ENDINGS:
        (EXAMPLES / f"{name}{ending}").write_text(rendered(report, ending), encoding="utf-8")
    measure(name)


def measure(name: str) -> None:
    """Say how large the files are. Fails where the page is not below a megabyte."""
    for ending in ENDINGS:
        size = (EXAMPLES / f"{name}{ending}").stat().st_size
        print(f"{name}{ending} {size:,} bytes")
        assert ending != ".html" or size < MOST_BYTES


def main(arguments: list[str]) -> None:
    end = arguments.index("--") if "--" in arguments else len(arguments)
    names = [each for each in arguments[:end] if each != "--redraw"] or list(MADE)
    for name in names:
        if "--redraw" in arguments[:end]:
            redraw(name)
        else:
            make(name, arguments[end + 1 :])


if __name__ == "__main__":
    main(sys.argv[1:])
