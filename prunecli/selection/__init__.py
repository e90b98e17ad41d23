"""Selection: scores and a target become a Plan. Nothing here runs a network."""

from prunecli.selection.asked import Asked
from prunecli.selection.choose import Choice, choose
from prunecli.selection.schemes import SCHEMES, Scheme, register_scheme
from prunecli.selection.select import Selection, select
from prunecli.selection.target import Limits, Target

__all__ = [
    "SCHEMES",
    "Asked",
    "Choice",
    "Limits",
    "Scheme",
    "Selection",
    "Target",
    "choose",
    "register_scheme",
    "select",
]
