"""Return types of the models: a bound per row, split into named terms."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from skdgm.distributions import log_mean_exp


class Bound(NamedTuple):
    """A lower bound on log p(x) in nats, to maximize; each term has the shape of the rows, (..., n).

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
    """A lower bound on log p(x, y), or on log p(x) under a model with labels; like ``Bound`` otherwise.

    Attributes
    ----------
    reconstruction, kl : Tensor
        As in ``Bound``, given y or averaged over q(y | x).
    label : Tensor
        The contribution of the labels: log p(y), plus the entropy of q(y | x) if y is summed out.
    """

    reconstruction: Tensor
    kl: Tensor
    label: Tensor

    def total(self, kl_weight: float | Tensor = 1.0) -> Tensor:
        """The bound, with the KL weighted by ``kl_weight``."""
        return self.reconstruction - kl_weight * self.kl + self.label


class ImportanceBound(NamedTuple):
    """The importance-weighted bound, log mean exp of the draws' weights: Burda et al. 2016, arXiv 1509.00519, eq. (8).

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
