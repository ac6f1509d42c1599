"""Columns of categories: where the levels of each column stand in one flat axis, and draws and modes of codes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import groupby

import torch
from torch import Tensor, nn

from skdgm.noise import Rng, uniform


class Levels(nn.Module):
    """The levels 0..K-1 of several columns in one flat axis, columns with few levels first.

    Columns with equally many levels stand together, so that one operation serves them all.

    Parameters
    ----------
    sizes : sequence of int
        Number of levels of each column.

    Attributes
    ----------
    order : Tensor of int of shape (n_columns,)
        The columns in the order in which their levels stand.
    column, level : Tensor of int of shape (n_levels,)
        To which column each place belongs, and which code it stands for.
    first : Tensor of int of shape (n_columns,)
        The place of each column's code 0.
    """

    order: Tensor
    back: Tensor
    column: Tensor
    level: Tensor
    first: Tensor

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__()
        self.runs = [(len(list(run)), size) for size, run in groupby(sorted(sizes))]
        ordered, order = torch.sort(torch.tensor(sizes), stable=True)
        back = torch.argsort(order)
        starts = ordered.cumsum(0) - ordered
        level = torch.arange(sum(sizes)) - torch.repeat_interleave(starts, ordered)
        self.register_buffer("order", order, persistent=False)
        self.register_buffer("back", back, persistent=False)
        self.register_buffer("column", torch.repeat_interleave(order, ordered), persistent=False)
        self.register_buffer("level", level, persistent=False)
        self.register_buffer("first", starts[back], persistent=False)

    def flat(self, lists: Sequence[Sequence[float]]) -> Tensor:
        """One number per level, from a list per column; (n_levels,)."""
        return torch.tensor([number for column in self.order.tolist() for number in lists[column]], dtype=torch.float32)

    def places(self, x: Tensor) -> Tensor:
        """The place of each cell's level, (..., n, n_columns)."""
        return self.first + x.long()

    def one_hot(self, x: Tensor, n_places: int) -> Tensor:
        """1 at the place of each cell's level, 0 elsewhere; (..., n, n_places) for the first places."""
        return (x[..., self.column[:n_places]] == self.level[:n_places]).to(x.dtype)

    def by_run(self, numbers: Tensor) -> list[Tensor]:
        """Split (..., n_levels) into parts (..., n_columns_of_part, n_levels_of_each)."""
        parts = numbers.split([count * size for count, size in self.runs], -1)
        return [part.unflatten(-1, run) for part, run in zip(parts, self.runs, strict=True)]

    def log_sum_exp(self, logits: Tensor) -> Tensor:
        """Log of the sum of exp over each column's levels; (..., n_columns) in the order of ``order``."""
        return torch.cat([part.logsumexp(-1) for part in self.by_run(logits)], -1)

    def modes(self, probs: Tensor) -> Tensor:
        """The most probable code of each column, (..., n_columns)."""
        modes = [part.argmax(-1) for part in self.by_run(probs)]
        return torch.cat(modes, -1)[..., self.back].to(probs.dtype)

    def medians(self, probs: Tensor) -> Tensor:
        """The median code of each column, (..., n_columns); it is the most probable one if that has more than half."""
        half = [part.sum(-1) / 2 for part in self.by_run(probs)]
        medians = [(part.cumsum(-1) < h[..., None]).sum(-1) for part, h in zip(self.by_run(probs), half, strict=True)]
        return torch.cat(medians, -1)[..., self.back].to(probs.dtype)

    def draw(self, probs: Tensor, rng: Rng) -> Tensor:
        """One code per column by inversion of one uniform number each; (..., n, n_columns)."""
        noise = uniform((*probs.shape[:-1], len(self.order)), rng, probs).split([count for count, _ in self.runs], -1)
        codes = [invert(part, u) for part, u in zip(self.by_run(probs), noise, strict=True)]
        return torch.cat(codes, -1)[..., self.back].to(probs.dtype)


class CategoryDistribution(ABC):
    """Base of distributions over rows of codes. Their mean parameters are the probabilities of all levels.

    Parameters
    ----------
    levels : Levels
    observed : Tensor of bool of shape (n, n_columns) or None
        Mask of observed cells; ``log_prob`` ignores the others. None means that all are observed.
    """

    def __init__(self, levels: Levels, observed: Tensor | None) -> None:
        self.levels, self.observed = levels, observed

    @property
    @abstractmethod
    def mean_parameters(self) -> Tensor:
        """Probabilities of all levels, (..., n, n_levels)."""

    @property
    def mean(self) -> Tensor:
        """The most probable code of each cell, (..., n, n_columns)."""
        return self.center(self.mean_parameters)

    def center(self, mean_parameters: Tensor) -> Tensor:
        """The most probable code of each cell under these probabilities."""
        return self.levels.modes(mean_parameters)

    def rsample(self, rng: Rng) -> Tensor:
        """Draw codes. Not differentiable; the name is the same for all distributions of a decoder."""
        return self.levels.draw(self.mean_parameters.detach(), rng)


def invert(probs: Tensor, u: Tensor) -> Tensor:
    """The code whose interval of cumulative probability holds u in [0, 1); (..., k) and (...,) to (...,)."""
    cumulative = probs.cumsum(-1)
    # relative to the sum, which rounding may leave below u
    return (cumulative <= u[..., None] * cumulative[..., -1:]).sum(-1).clamp(max=probs.shape[-1] - 1)
