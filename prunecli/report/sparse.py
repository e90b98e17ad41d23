"""Zeros that are in the weights of a layer already."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LayerSparsity:
    """A layer with a weight. ``params`` are all its parameters, ``zeros`` the exact zeros among them,
    ``near_zeros`` those that are not zero but below 1e-3 of the weight's root mean square.

    Of the ``channels`` it makes, ``dead`` are always the same constant, whatever the input (a row of zeros, a
    gamma of zero in the norm behind), ``inactive`` were never above zero on the data (None without data), and
    ``duplicates`` are equal to an earlier one. ``two_four`` is the fraction of aligned runs of four weights
    along the inputs that have at most two nonzeros; None where rows are no multiple of four.
    """

    name: str
    params: int
    zeros: int
    near_zeros: int
    channels: int
    dead: int
    duplicates: int
    inactive: int | None = None
    two_four: float | None = None
