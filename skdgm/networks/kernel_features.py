"""Features of a Gaussian kernel, which q(y | x) reads beside the columns."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from skdgm.distributions import float32_products, linear


class KernelFeatures(nn.Module):
    """Features of a row whose inner products approximate a Gaussian kernel, exactly so on the centers (Nystroem).

    The kernel of two rows is exp(-gamma ||x - x'||^2). Until ``place`` sets the centers, every feature is 0.
    """

    centers: Tensor
    gamma: Tensor
    whitening: Tensor

    def __init__(self, n_in: int, n_centers: int) -> None:
        super().__init__()
        self.register_buffer("centers", torch.zeros(n_centers, n_in))
        self.register_buffer("gamma", torch.ones(()))
        self.register_buffer("whitening", torch.zeros(n_centers, n_centers))

    @torch.no_grad()
    def place(self, centers: Tensor, gamma: float, whitening: Tensor) -> None:
        """Set the centers, the kernel's ``gamma``, and the matrix that maps kernel values to features."""
        self.centers.copy_(centers)
        self.gamma.fill_(gamma)
        self.whitening.copy_(whitening)

    def forward(self, x: Tensor) -> Tensor:
        """The features of rows, (n, n_centers)."""
        with float32_products(x):  # a distance is a difference of large numbers
            squared = (x * x).sum(-1, keepdim=True) + (self.centers**2).sum(-1) - 2 * linear(x, self.centers)
            return linear(torch.exp(-self.gamma * squared.clamp(min=0)), self.whitening.T)
