"""The average of the weights over training steps, and what training needs to continue after it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor

from skdgm.optimizer import Adam

# A moving average of the weights starts as the mean of the last fifth of the steps, until it reaches its full length.
SHARE_AVERAGED = 0.2


class WeightAverage:
    """Exponential moving average of weights over about ``n_steps`` steps; 0 averages nothing.

    It is a better estimate than the weights of any one step, as if the learning rate had been lowered for a while.
    ``weights`` is the vector of all weights, which training changes in place.
    """

    def __init__(self, weights: Tensor, n_steps: int) -> None:
        self.n_steps, self.weights, self.n_seen = n_steps, weights, 0
        self.values = weights.clone() if n_steps else weights

    def restart(self) -> None:
        """Forget the past: the average is the present weights."""
        self.n_seen = 0
        self.values.copy_(self.weights)

    def next_share(self) -> float:
        """Count a step, and return the share of its weights in the average."""
        self.n_seen += 1
        return 1 / min(self.n_steps, 1 + SHARE_AVERAGED * self.n_seen) if self.n_steps else 1.0

    def update(self, share: float | Tensor) -> None:
        """Take in the present weights with this share."""
        if self.n_steps:
            self.values.lerp_(self.weights, share)

    def load(self) -> None:
        """Set the weights to the average."""
        self.weights.copy_(self.values)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Set the weights to the average within the body."""
        present = self.weights.clone()
        self.load()
        try:
            yield
        finally:
            self.weights.copy_(present)

    def state(self) -> tuple[int, Tensor]:
        """What ``set_state`` needs to come back to the present average."""
        return self.n_seen, self.values.clone()

    def set_state(self, state: tuple[int, Tensor]) -> None:
        """Come back to an earlier average."""
        self.n_seen = state[0]
        self.values.copy_(state[1])


@dataclass
class Progress:
    """What training needs to continue later as if it had not stopped, besides the module with the averaged weights.

    Attributes
    ----------
    weights, mean, square : Tensor of shape (n_parameters,)
        The weights of the last step, of which the module has the average, and Adam's moments; empty before the first
        step.
    n_steps, n_averaged : int
        Number of steps in the moments, and in the average.
    """

    weights: Tensor = field(default_factory=lambda: torch.empty(0))
    mean: Tensor = field(default_factory=lambda: torch.empty(0))
    square: Tensor = field(default_factory=lambda: torch.empty(0))
    n_steps: int = 0
    n_averaged: int = 0

    def apply(self, average: WeightAverage, adam: Adam) -> None:
        """Continue from here; the weights are still the averaged ones."""
        if not len(self.weights):
            return
        average.n_seen = self.n_averaged
        average.weights.copy_(self.weights)
        adam.set_state(self.n_steps, self.mean, self.square)

    def store(self, average: WeightAverage, adam: Adam) -> None:
        """Remember this place; the weights are those of the last step."""
        self.n_averaged, self.n_steps = average.n_seen, int(adam.n_steps)
        self.weights, self.mean, self.square = average.weights.clone(), adam.mean.clone(), adam.square.clone()
