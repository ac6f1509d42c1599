"""Batch normalization (Ioffe and Szegedy 2015, arXiv 1502.03167), for rows one by one in prediction."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPSILON = 1e-5
# The moments for prediction are means over all steps, later over about the last 1 / 0.05 = 20.
MIN_RATE = 0.05


class BatchNorm(nn.Module):
    """Standardizes each hidden unit, (..., n_units), then scales and shifts it by learned parameters.

    With gradients, in training, it uses the mean and the variance of the batch, all leading axes together. Otherwise,
    also for the bound of held-out rows, it uses those of past training steps, so that a row's result does not depend on
    other rows. So it does for a single row, which has no variance.
    """

    mean: Tensor
    variance: Tensor
    n_steps: Tensor

    def __init__(self, n_units: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(n_units))
        self.bias = nn.Parameter(torch.zeros(n_units))
        self.register_buffer("mean", torch.zeros(n_units))
        self.register_buffer("variance", torch.ones(n_units))
        self.register_buffer("n_steps", torch.zeros(()))

    def forward(self, h: Tensor) -> Tensor:
        h = h.float()
        if not (self.training and torch.is_grad_enabled() and h.shape[:-1].numel() > 1):
            return (h - self.mean) * (self.weight * torch.rsqrt(self.variance + EPSILON)) + self.bias
        rows = h.reshape(-1, h.shape[-1])
        self.follow(rows.detach())
        return F.batch_norm(rows, None, None, self.weight, self.bias, training=True, eps=EPSILON).view(h.shape)

    @torch.no_grad()
    def follow(self, rows: Tensor) -> None:
        """Take the moments of a batch into those for prediction."""
        variance, mean = torch.var_mean(rows, 0, correction=0)
        self.n_steps += 1
        rate = (1 / self.n_steps).clamp(min=MIN_RATE)
        self.mean.lerp_(mean, rate)
        self.variance.lerp_(variance, rate)
