"""Which parameter slices of a network can only be removed together: axis algebra, tracer, ``Space``, cost."""

from prunecli.coupling.build import trace
from prunecli.coupling.space import Space

__all__ = ["Space", "trace"]
