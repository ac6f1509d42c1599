"""The values that models return: a bound per row, kept in its named terms."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from skdgm.distributions import log_mean_exp


class Bound(NamedTuple):
    """A lower bound on log p(x) in nats, to be maximized; each term has the shape of the rows, (..., n).

    Attributes
    ----------
    reconstruction : Tensor
        E_q[log p(x | z)].
    kl : Tensor
        KL(q(z | x) || p(z)), which the bound subtracts.
    """

    reconstruction: Tensor
    kl: Tensor

    def total(self, kl_weight: float | Tensor = 1.0) -> Tensor:
        """The bound, with the KL weighted by ``kl_weight`` in [0, 1] while it warms up; 1 gives the true bound."""
        return self.reconstruction - kl_weight * self.kl


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

    def total(self, kl_weight: float | Tensor = 1.0) -> Tensor:
        """The bound, with the KL weighted by ``kl_weight``."""
        return self.reconstruction - kl_weight * self.kl + self.label


class ImportanceBound(NamedTuple):
    """The bound of several draws, log mean exp of their weights: Burda et al. 2016 (arXiv 1509.00519), eq. (8).

    Attributes
    ----------
    reconstruction : Tensor of shape (n_draws, n)
        log p(x | z) at each draw.
    kl : Tensor of shape (n_draws, n)
        log q(z | x) - log p(z) at each draw; its mean is the KL.
    """

    reconstruction: Tensor
    kl: Tensor

    def total(self, kl_weight: float | Tensor = 1.0) -> Tensor:
        """The bound, of shape (n,), with log q - log p weighted by ``kl_weight`` in [0, 1]."""
        return log_mean_exp(self.reconstruction - kl_weight * self.kl)
