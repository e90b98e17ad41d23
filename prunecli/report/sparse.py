"""Zeros that are in the weights of a layer already."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LayerSparsity:
    """A layer with a weight of at least two dimensions. ``params`` are all its own parameters, ``zeros`` the
    exact zeros among them, ``near_zeros`` those that are not zero but below 1e-3 of the weight's root mean
    square.

    Of the ``channels`` it makes (0 where nothing is multiplied by its weight: an embedding, a layer of train
    mode), ``dead`` are always the same constant, whatever the input (a row of zeros, a gamma of zero in the
    norm behind), and ``duplicates`` are not dead but equal to an earlier one, with their bias and the norm
    behind. ``inactive`` gave nothing but zeros on the data, behind the norm and the activation that follow
    (None without data). ``two_four`` is the fraction of aligned runs of four weights along the inputs that
    have at most two nonzeros; None where there is no multiple of four.
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
