"""Arguments that mean the same in every command, and how their text becomes a value."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from prunecli.checkpoint.atomic import as_output_error, require_regular
from prunecli.checkpoint.locating import is_pickle, weights_in
from prunecli.cli import names
from prunecli.errors import InputError, OutputError, UsageError, require_range

if TYPE_CHECKING:
    from prunecli.checkpoint.specs import Scalar
    from prunecli.report.files import Reported

NETWORK = "Network"
DATA = "Data"
SCORES = "Scores"
GROUPS = "Which groups (GLOB: a group or layer, see prune inspect --groups)"
OUTPUT = "Output"
RUNNING = "Running"

Checkpoint: TypeAlias = Annotated[
    Path,
    typer.Argument(
        metavar="CKPT",
        help="Checkpoint: .safetensors (or its index .json), .pth, .pt, .bin, or a Hugging Face directory.",
    ),
]
MaybeCheckpoint: TypeAlias = Annotated[
    Path | None,
    typer.Argument(
        metavar="[CKPT]",
        help="Checkpoint: .safetensors (or its index .json), .pth, .pt, .bin, or a Hugging Face directory. "
        "None with --init random.",
        show_default=False,
    ),
]
Arch: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="SPEC",
        rich_help_panel=NETWORK,
        help="torchvision:NAME, timm:NAME, cifar:NAME, ultralytics:NAME, hf:DIR or FILE.py:factory. Default: "
        "identified from the file, or the config.json beside it.",
    ),
]
ArchArg: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        metavar="K=V", rich_help_panel=NETWORK, help="Constructor argument of the network. Repeatable."
    ),
]
Input: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        metavar="SPEC",
        rich_help_panel=NETWORK,
        help="Input shape: C,H,W, or name:[dtype:]N,C,H,W with the batch (list.0:C,H,W in a list). "
        "Repeatable.",
    ),
]
UnsafeLoad: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--unsafe-load",
        rich_help_panel=NETWORK,
        help="Let a pickle that needs code (a whole ultralytics model) run it, in a process of its own. "
        "Only for a file whose source you trust.",
    ),
]
Data: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="SPEC",
        rich_help_panel=DATA,
        help="digits, imagefolder:DIR, torchvision:SET:DIR, npz:FILE, safetensors:FILE, noise or "
        "FILE.py:function.",
    ),
]
SampleCount: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--samples", metavar="N", rich_help_panel=DATA, help="How many samples, chosen by the seed."
    ),
]
CalibrationCount: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--samples",
        metavar="N",
        rich_help_panel=DATA,
        help="How many samples, chosen by the seed. Default: 512 of --data, 32 of noise.",
    ),
]
BatchSize: TypeAlias = Annotated[
    int, typer.Option(metavar="N", rich_help_panel=DATA, help="Samples that go through the network at once.")
]
Transform: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        rich_help_panel=DATA,
        help=f"From picture to input: {', '.join(names.TRANSFORMS)}. Default: by the network's input.",
    ),
]
Reduce: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        rich_help_panel=SCORES,
        help=f"Combine the slots of a unit: {', '.join(names.REDUCE)}. Default: the criterion's.",
    ),
]
Normalize: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        rich_help_panel=SCORES,
        help=f"Make groups comparable: {', '.join(names.NORMALIZE)}. Default: the criterion's.",
    ),
]
Loss: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        rich_help_panel=SCORES,
        help="Of criteria with a gradient: cross-entropy, mse, FILE.py:function, or kd where there is "
        "--against. Default: cross-entropy for one row of scores per sample, else mse.",
    ),
]
Temperature: TypeAlias = Annotated[
    float, typer.Option(metavar="T", rich_help_panel=SCORES, help="Divides the logits of the loss.")
]
Memory: TypeAlias = Annotated[
    str, typer.Option(metavar="SIZE", rich_help_panel=DATA, help="Limit for stored activations.")
]
Only: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        metavar="GLOB",
        rich_help_panel=GROUPS,
        help="Take matching groups only; the others stay whole. Repeatable.",
    ),
]
Ignore: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        metavar="GLOB", rich_help_panel=GROUPS, help="Leave matching groups out; they stay whole. Repeatable."
    ),
]
Threads: TypeAlias = Annotated[
    int | None, typer.Option(metavar="N", rich_help_panel=RUNNING, help="CPU threads. Default: torch's.")
]
Device: TypeAlias = Annotated[
    str, typer.Option(metavar="NAME", rich_help_panel=RUNNING, help=f"{', '.join(names.DEVICES)}.")
]
Seed: TypeAlias = Annotated[
    int, typer.Option(metavar="N", rich_help_panel=RUNNING, help="Seed of all that is drawn.")
]
Latency: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--latency/--no-latency",
        rich_help_panel=RUNNING,
        help="Time the network as a whole and layer by layer, a pruned one beside the dense one.",
    ),
]
EvalData: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="SPEC",
        rich_help_panel=DATA,
        help="What accuracy is measured on after every epoch. Default: the test part of --data, if any.",
    ),
]
Resume: TypeAlias = Annotated[
    bool,
    typer.Option("--resume", rich_help_panel=RUNNING, help="Go on where the same command was stopped."),
]
SaveMinutes: TypeAlias = Annotated[
    float,
    typer.Option(
        metavar="N",
        rich_help_panel=RUNNING,
        help="How often the state is written within an epoch; after each it is anyway.",
    ),
]
Reports: TypeAlias = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="FILE",
        rich_help_panel=OUTPUT,
        help="Where the report goes: .json, .md, .csv or .html. Repeatable. Default: OUT with .json.",
    ),
]
LayerReports: TypeAlias = Annotated[
    list[Path] | None,
    typer.Option(
        "--report",
        metavar="FILE",
        rich_help_panel=OUTPUT,
        help="Where it goes besides: .json, .md, .html or .csv (a row per layer). Repeatable.",
    ),
]
NetworkReports: TypeAlias = Annotated[
    list[Path] | None,
    typer.Option(
        "--report",
        metavar="FILE",
        rich_help_panel=OUTPUT,
        help="Where it goes besides: .json, .md, .html or .csv (a row per network). Repeatable.",
    ),
]
Json: TypeAlias = Annotated[
    bool, typer.Option("--json", rich_help_panel=OUTPUT, help="Print one JSON document instead of tables.")
]
Quiet: TypeAlias = Annotated[
    bool, typer.Option("-q", "--quiet", rich_help_panel=OUTPUT, help="Print only the output path.")
]
Force: TypeAlias = Annotated[
    bool, typer.Option("--force", rich_help_panel=OUTPUT, help="Replace files that exist.")
]


@dataclass(frozen=True)
class Network:
    """How the network is found: ``--arch``, ``--arch-arg``, ``--input``, ``--unsafe-load``."""

    arch: str | None
    arguments: Mapping[str, Scalar]
    inputs: tuple[str, ...]
    unsafe_load: bool = False


def network(
    arch: str | None, arch_arg: list[str] | None, input: list[str] | None, unsafe_load: bool = False
) -> Network:
    """What was typed about the network. Raises ``UsageError`` for an argument or input that cannot be one."""
    from prunecli.networks.arguments import parse_arguments, parse_input

    for text in input or []:
        parse_input(text)
    return Network(arch, parse_arguments(arch_arg or []), tuple(input or ()), unsafe_load)


def require_readable(path: Path) -> None:
    """Raise ``UsageError`` for a missing file, ``InputError`` for what is there and cannot be one."""
    if path.is_dir():
        weights_in(path)
        return
    if not path.exists():
        raise UsageError(f"no such file: {path}", "check the path of the checkpoint")
    if not os.access(path, os.R_OK):
        raise InputError(f"{path} may not be read", "check its permissions")
    if path.is_file() and is_pickle(_start(path)):
        warm_processes()


def _start(path: Path) -> bytes:
    """Nothing where the system does not let it be read; that is told when it is read in earnest."""
    try:
        with path.open("rb") as file:
            return file.read(4)
    except OSError:
        return b""


def warm_processes() -> None:
    """For a command that is going to read a pickle, or to load what it wrote: the process for that is made
    ready while this one imports torch.
    """
    from prunecli.processes import warm

    warm()


def is_stdout(path: Path) -> bool:
    """Whether the shell sends stdout to ``path``: then the document goes there, and nothing else may."""
    try:
        return os.path.samestat(path.stat(), os.fstat(1))
    except OSError:
        return False


def require_ending(path: Path, endings: tuple[str, ...]) -> None:
    """Raise ``UsageError`` for a report of a kind that there is not."""
    if path.suffix not in endings:
        raise UsageError(f"--report {path}: no report of that kind", f"known endings: {', '.join(endings)}")


def require_from(option: str, number: int | None, least: int) -> None:
    """Raise ``UsageError`` for a number below ``least``."""
    require_range(number is None or number >= least, option, number, f"a whole number from {least}")


def require_besides(reports: Sequence[Path], inputs: Sequence[Path], force: bool) -> None:
    """Raise for reports of a kind that there is not, in place of an input, or that cannot be written."""
    for path in reports:
        require_ending(path, names.REPORT_ENDINGS)
        for given in inputs:
            read = path.exists() and (path if given.is_file() else path.parent).samefile(given)
            if read:
                raise UsageError(f"{path} is, or belongs to, what is read", "choose another --report")
        require_writable(path, force or is_stdout(path), "--report")


def write_besides(found: Reported, reports: Iterable[Path]) -> None:
    """Each report that is not what stdout is sent to already."""
    from prunecli.report.files import write_report

    for path in reports:
        if not is_stdout(path):
            write_report(found, path)


def require_writable(path: Path, force: bool, option: str = "-o") -> None:
    """Raise unless ``path`` can be created, before any work is done for it; ``option`` names another."""
    with as_output_error(path, f"choose another place with {option}"):
        _require_writable(path, force, option)


def _require_writable(path: Path, force: bool, option: str) -> None:
    if path.is_dir():
        raise OutputError(f"{path} is a directory", "give the name of a file")
    if not is_stdout(path):
        require_regular(path)
    if path.exists() and not force:
        raise UsageError(f"{path} exists", f"--force replaces it, {option} writes elsewhere")
    if not path.parent.is_dir():
        raise OutputError(f"no such directory: {path.parent}", f"mkdir -p {path.parent}")
    if not os.access(path.parent, os.W_OK):
        raise OutputError(f"{path.parent} may not be written to", f"choose another place with {option}")


def require_data(data: str | None, samples: int | None, transform: str | None, batch_size: int) -> None:
    """Raise ``UsageError`` for what is no source, no number of samples or no transform."""
    from prunecli.data.specs import parse

    if data is not None:
        parse(data)
    if transform is not None:
        names.require_known("transform", transform, names.TRANSFORMS)
    require_from("--samples", samples, 1)
    require_from("--batch-size", batch_size, 1)


def bytes_in(memory: str) -> int:
    """``--memory`` as a number, in GB where no unit is named. Raises ``UsageError`` for what is no size, or
    too small a one.
    """
    found = re.fullmatch(r"\s*(\d*\.?\d+)\s*(b?|[kmgt](?:i?b)?)\s*", memory.lower())
    if found is None:
        raise UsageError(f"--memory {memory} is not a size", "like --memory 4GB or 500MB")
    power = {"b": 0, "k": 1, "m": 2, "g": 3, "t": 4}[found[2][:1] or "g"]
    size = int(float(found[1]) * 1024**power)
    if size < 1 << 20:
        raise UsageError(f"--memory {size} is out of range", "--memory is at least 1MB, like 4GB")
    return size


def require_scores(reduce: str | None, normalize: str | None, loss: str | None, temperature: float) -> None:
    """Raise ``UsageError`` for what is no reduction, no normalization, no loss or no temperature."""
    if reduce is not None:
        names.require_known("reduction", reduce, names.REDUCE)
    if normalize is not None:
        names.require_known("normalization", normalize, names.NORMALIZE)
    file, _, function = (loss or "").rpartition(":")
    if loss is not None and not (file.endswith(".py") and function.isidentifier()):
        names.require_known("loss", loss, names.LOSSES)
    require_range(0 < temperature < math.inf, "--temperature", temperature, "a number above 0")
    if temperature != 1 and loss not in (None, "cross-entropy", "kd"):
        raise UsageError(
            f"--temperature divides the scores of classes, and --loss {loss} has none", "leave it out"
        )


def require_one_format(json: bool, quiet: bool) -> None:
    """Raise ``UsageError`` when both ``--json`` and ``-q`` were given."""
    if json and quiet:
        raise UsageError("--json and -q each decide what is printed", "give one of them")
