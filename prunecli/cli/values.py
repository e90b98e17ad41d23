"""What may follow an option or a command, as far as it is known before anything is read."""

from __future__ import annotations

from prunecli.cli import names
from prunecli.presets import PRESETS
from prunecli.training.asked import STABLE
from prunecli.training.settings import AMP, AUGMENTS, OPTIMIZERS, SCHEDULES

# What follows an option (or a command); an option that is not here takes a number or a text of one's own.
VALUES: dict[str, tuple[str, ...]] = {
    "--criterion": names.CRITERIA,
    "--scheme": names.SCHEMES,
    "--reduce": names.REDUCE,
    "--normalize": names.NORMALIZE,
    "--repair": names.REPAIR,
    "--device": names.DEVICES,
    "--data": names.DATA,
    "--transform": names.TRANSFORMS,
    "--eval-data": names.DATA,
    "--loss": names.LOSSES,
    "--sparsify": names.REGULARIZERS,
    "--preset": tuple(PRESETS),
    "--prune-when": (STABLE,),
    "--init": names.INIT,
    "--optimizer": OPTIMIZERS,
    "--schedule": SCHEDULES,
    "--augment": AUGMENTS,
    "--amp": AMP,
    "--show-completion": names.SHELLS,
    "ls": names.LISTS,
}
# What ``prune --complete KIND`` knows, by option; a command's own name stands for its second argument.
ASKED: dict[str, str] = {
    "--arch": "networks",
    "--job": "jobs",
    "--only": "layers",
    "--ignore": "layers",
    "--ratio-for": "layers",
    "--round-to-for": "layers",
    "explain": "modules",
}
# After these more may follow in the same word.
OPEN = frozenset({"--arch", "--data", "--eval-data", "--ratio-for", "--round-to-for"})
FILE_AFTER = ("imagefolder:", "npz:", "safetensors:", "hf:")
FILES = frozenset(
    {
        "--output",
        "--report",
        "--plan",
        "--against",
        "--config",
        "inspect",
        "explain",
        "score",
        "run",
        "finetune",
        "sparsify",
        "eval",
        "verify",
        "compact",
        "diff",
    }
)


def values_of(option: str) -> tuple[str, ...]:
    """The names that ``option`` takes, where they are whole and known without torch."""
    return tuple(value for value in VALUES.get(option, ()) if not value.endswith(":"))


def follows(key: str) -> bool:
    """Whether anything is known of what follows."""
    return key in FILES or key in VALUES or key in ASKED
