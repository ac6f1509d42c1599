"""The values that models return: a bound per row, kept in its named terms."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Bound(NamedTuple):
    """A lower bound on log p(x) in nats, to be maximised; each term has the shape of the rows, (..., n).

    Attributes
    ----------
    reconstruction : Tensor
        E_q[log p(x | z)].
    kl : Tensor
        KL(q(z | x) || p(z)), which the bound subtracts.
    """

    reconstruction: Tensor
    kl: Tensor

    def total(self, warmup: float | Tensor = 1.0) -> Tensor:
        """The bound, with the KL weighted by ``warmup`` in [0, 1] while it warms up; 1 gives the true bound."""
        return self.reconstruction - warmup * self.kl


class LabelBound(NamedTuple):
    """A lower bound on log p(x, y), or on log p(x) of a model with labels; as ``Bound``.

    Attributes
    ----------
    reconstruction, kl : Tensor
        As in ``Bound``, given y or averaged over q(y | x).
    label : Tensor
        What labels contribute: log p(y), and the entropy of q(y | x) where y is summed out.
    """

    reconstruction: Tensor
    kl: Tensor
    label: Tensor

    def total(self, warmup: float | Tensor = 1.0) -> Tensor:
        """The bound, with the KL weighted by ``warmup``."""
        return self.reconstruction - warmup * self.kl + self.label
