"""The value that every model returns: a bound per row, kept in its named terms."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Bound(NamedTuple):
    """A lower bound on a log-likelihood in nats, to be maximised; each term has the shape of the rows, (..., n).

    Attributes
    ----------
    reconstruction : Tensor
        E_q[log p(x | z)].
    kl : Tensor
        KL(q(z | x) || p(z)), which the bound subtracts.
    label : Tensor
        What labels contribute: log p(y), and the entropy of q(y | x) where y is summed out. None in a model of x alone.
    """

    reconstruction: Tensor
    kl: Tensor
    label: Tensor | None = None

    def total(self, warmup: float | Tensor = 1.0) -> Tensor:
        """The bound, with the KL weighted by ``warmup`` in [0, 1] while it warms up; 1 gives the true bound."""
        bound = self.reconstruction - warmup * self.kl
        return bound if self.label is None else bound + self.label
