"""Residual layers for tables, in the spirit of Gorishniy et al. 2021 (arXiv 2106.11959)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from skdgm.networks.mlp import SteadyLinear
from skdgm.networks.sizes import Sizes


@dataclass(frozen=True)
class Residual:
    """Builder of residual layers: each adds an MLP of the normalized hidden units to them.

    ``network="resnet"`` is this builder with its defaults. The paper normalizes over the batch, and uses dropout. Here
    it is layer normalization, and none, so that a row's result does not depend on other rows.

    Parameters
    ----------
    n_blocks : int, default=2
        Number of residual blocks in each network, at least 1. More blocks fit finer structure and take longer.

    Examples
    --------
    >>> from skdgm import VAE
    >>> from skdgm.networks import Residual
    >>> vae = VAE(network=Residual(n_blocks=4))
    """

    n_blocks: int = 2

    def __post_init__(self) -> None:
        if self.n_blocks < 1:
            raise ValueError(f"n_blocks must be >= 1, got {self.n_blocks!r}. Use for example 2.")

    def __call__(self, sizes: Sizes) -> nn.Module:
        """Build the layer."""
        affine = nn.utils.skip_init(SteadyLinear, sizes.n_inputs, sizes.n_outputs)
        width = sizes.n_outputs if sizes.reads_columns else sizes.n_inputs
        blocks = [Block(width, sizes.activation) for _ in range(self.n_blocks)]
        norm = nn.LayerNorm(width)
        return nn.Sequential(*([affine, *blocks, norm] if sizes.reads_columns else [*blocks, norm, affine]))


class Block(nn.Module):
    """h + W2 f(W1 norm(h))."""

    def __init__(self, width: int, activation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.inner, self.outer = (nn.utils.skip_init(SteadyLinear, width, width) for _ in range(2))
        self.activation = activation

    def forward(self, h: Tensor) -> Tensor:
        """The next hidden units, (n, width)."""
        return h + self.outer(self.activation(self.inner(self.norm(h))))
