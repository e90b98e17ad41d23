"""Cut a saved PyTorch checkpoint down to a smaller, dense, reloadable one.

Every name is imported from its module on first use, so importing this package does not import torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from prunecli.api import Result, inspect, prune, verify
    from prunecli.coupling import Space, register_adapter, register_description, register_operator
    from prunecli.criteria import register_criterion
    from prunecli.differing import diff
    from prunecli.errors import GateError, ImpossibleError, InputError, OutputError, PruneError, UsageError
    from prunecli.evaluating import evaluate
    from prunecli.explaining import explain
    from prunecli.finetuning import Finetuned, finetune
    from prunecli.loading import load
    from prunecli.plan import Plan
    from prunecli.presets import preset
    from prunecli.regularizers import register_regularizer
    from prunecli.report.differences import Difference
    from prunecli.report.figures import Quality
    from prunecli.report.measured import Evaluation
    from prunecli.report.model import Explanation, Inspection, Report, Verification
    from prunecli.report.scored import Scoring
    from prunecli.report.trained import Finetuning
    from prunecli.scoring import score
    from prunecli.selection import register_scheme
    from prunecli.sparsifying import Sparsified, sparsify

_MODULE_OF = {
    "Difference": "prunecli.report.differences",
    "Evaluation": "prunecli.report.measured",
    "Explanation": "prunecli.report.model",
    "Finetuned": "prunecli.finetuning",
    "Finetuning": "prunecli.report.trained",
    "GateError": "prunecli.errors",
    "ImpossibleError": "prunecli.errors",
    "InputError": "prunecli.errors",
    "Inspection": "prunecli.report.model",
    "OutputError": "prunecli.errors",
    "Plan": "prunecli.plan",
    "PruneError": "prunecli.errors",
    "Quality": "prunecli.report.figures",
    "Report": "prunecli.report.model",
    "Result": "prunecli.api",
    "Scoring": "prunecli.report.scored",
    "Space": "prunecli.coupling",
    "Sparsified": "prunecli.sparsifying",
    "UsageError": "prunecli.errors",
    "Verification": "prunecli.report.model",
    "diff": "prunecli.differing",
    "evaluate": "prunecli.evaluating",
    "explain": "prunecli.explaining",
    "finetune": "prunecli.finetuning",
    "inspect": "prunecli.api",
    "load": "prunecli.loading",
    "preset": "prunecli.presets",
    "prune": "prunecli.api",
    "register_adapter": "prunecli.coupling",
    "register_criterion": "prunecli.criteria",
    "register_description": "prunecli.coupling",
    "register_operator": "prunecli.coupling",
    "register_regularizer": "prunecli.regularizers",
    "register_scheme": "prunecli.selection",
    "score": "prunecli.scoring",
    "sparsify": "prunecli.sparsifying",
    "verify": "prunecli.api",
}

__all__ = [
    "Difference",
    "Evaluation",
    "Explanation",
    "Finetuned",
    "Finetuning",
    "GateError",
    "ImpossibleError",
    "InputError",
    "Inspection",
    "OutputError",
    "Plan",
    "PruneError",
    "Quality",
    "Report",
    "Result",
    "Scoring",
    "Space",
    "Sparsified",
    "UsageError",
    "Verification",
    "__version__",
    "diff",
    "evaluate",
    "explain",
    "finetune",
    "inspect",
    "load",
    "preset",
    "prune",
    "register_adapter",
    "register_criterion",
    "register_description",
    "register_operator",
    "register_regularizer",
    "register_scheme",
    "score",
    "sparsify",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'prunecli' has no attribute '{name}'")
    value = getattr(import_module(_MODULE_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
