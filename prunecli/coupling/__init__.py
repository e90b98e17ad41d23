"""Which parameter slices of a network can only be removed together: axis algebra, tracer, ``Space``, cost."""

from prunecli.coupling.adapters import register_description
from prunecli.coupling.build import trace
from prunecli.coupling.functions import register_adapter
from prunecli.coupling.operators import register_operator
from prunecli.coupling.space import Space

__all__ = ["Space", "register_adapter", "register_description", "register_operator", "trace"]
