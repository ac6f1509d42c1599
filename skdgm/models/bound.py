"""Return types of the models: a bound per row, split into named terms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
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


class ImportanceBound:
    """The importance-weighted bound, log mean exp of the draws' weights: Burda et al. 2016, arXiv 1509.00519, eq. (8).

    The gradient by the encoder is doubly reparametrized (Tucker et al. 2019, arXiv 1810.04152): it reaches the encoder
    only through the draws, where it is scaled. It has the same mean as the gradient of the bound as it stands, and less
    variance. At the exact posterior it is 0, without code noise and at a KL weight of 1.

    Parameters
    ----------
    reconstruction : Tensor of shape (n_draws, n)
        log p(x | z) at each draw.
    kl : Tensor of shape (n_draws, n)
        log q(z | x) - log p(z) at each draw; its mean is the KL.
    paths : sequence of Tensor
        Of shape (n_draws, n, ...): the tensors that lie between the encoder and these two, such as the draws of z.
    """

    def __init__(self, reconstruction: Tensor, kl: Tensor, paths: Sequence[Tensor]) -> None:
        self.reconstruction, self.kl, self.paths = reconstruction, kl, paths
        self.scales_gradient = False

    def _asdict(self) -> dict[str, Tensor]:
        return {"reconstruction": self.reconstruction, "kl": self.kl}

    def total(self, kl_weight: float | Tensor = 1.0) -> Tensor:
        """The bound, of shape (n,), with log q - log p weighted by ``kl_weight`` in [0, 1].

        It has a gradient once: the first call with gradients enabled also makes ``paths`` scale theirs.
        """
        log_w = self.reconstruction - kl_weight * self.kl
        if torch.is_grad_enabled():
            self.scale_gradient(kl_weight, torch.softmax(log_w.detach(), 0))
        return log_mean_exp(log_w)

    def scale_gradient(self, kl_weight: float | Tensor, share: Tensor) -> None:
        """Scale the gradients of ``paths``, given the shares of the draws in the sum of weights.

        With w_k the share of draw k and b the weight of the KL, the gradient by the encoder is
        E[sum_k w_k dlog w_k/dz_k dz_k] - b E[sum_k w_k dlog q(z_k)], the latter at given z_k. Reparametrized as well,
        it is b E[sum_k w_k (1 - w_k) dlog w_k/dz_k dz_k]. Autograd contributes the common factor w_k.
        """
        if self.scales_gradient:
            raise RuntimeError("total() was called twice with gradients enabled. Make another bound, or use no_grad.")
        self.scales_gradient = True
        scale = 1 - kl_weight * (1 - share)
        for path in self.paths:
            if path.requires_grad:
                path.register_hook(lambda grad: grad * scale.reshape(scale.shape + (1,) * (grad.ndim - scale.ndim)))
