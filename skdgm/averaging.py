"""The average of a module's weights over training steps, and what training needs to continue after it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

# A moving average of the weights starts as the mean of the last fifth of the steps, until it reaches its full length.
SHARE_AVERAGED = 0.2


def trainable_parameters(module: nn.Module) -> list[nn.Parameter]:
    """The parameters that are trained."""
    return [p for p in module.parameters() if p.requires_grad and p.numel()]


class WeightAverage:
    """Exponential moving average of the trained weights over about ``n_steps`` steps; 0 averages nothing.

    It is a better estimate than the weights of any one step, as if the learning rate had been lowered for a while.
    """

    def __init__(self, module: nn.Module, n_steps: int) -> None:
        self.n_steps = n_steps
        self.weights = [p.data for p in trainable_parameters(module)] if n_steps else []
        self.restart()

    def restart(self) -> None:
        """Forget the past: the average is the present weights."""
        self.n_seen, self.values = 0, [weight.clone() for weight in self.weights]

    def update(self) -> None:
        """Take in the present weights."""
        self.n_seen += 1
        if self.weights:
            torch._foreach_lerp_(self.values, self.weights, 1 / min(self.n_steps, 1 + SHARE_AVERAGED * self.n_seen))

    def load(self) -> None:
        """Set the module's weights to the average."""
        for weight, value in zip(self.weights, self.values, strict=True):
            weight.copy_(value)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Give the module the averaged weights within the body."""
        present = [weight.clone() for weight in self.weights]
        self.load()
        try:
            yield
        finally:
            for weight, value in zip(self.weights, present, strict=True):
                weight.copy_(value)

    def state(self) -> tuple[int, list[Tensor]]:
        """What ``set_state`` needs to come back to the present average."""
        return self.n_seen, [value.clone() for value in self.values]

    def set_state(self, state: tuple[int, list[Tensor]]) -> None:
        """Come back to an earlier average."""
        self.n_seen, self.values = state[0], [value.clone() for value in state[1]]


@dataclass
class Progress:
    """What training needs to continue later as if it had not stopped, besides the module with the averaged weights.

    Parameters are in the order of the module.

    Attributes
    ----------
    weights : list of Tensor
        The weights of the last step, of which the module has the average; empty before the first step.
    moments : list of dict
        Adam's state of each parameter, empty for one without a gradient so far.
    n_averaged : int
        Number of steps in the average.
    """

    weights: list[Tensor] = field(default_factory=list)
    moments: list[dict[str, Tensor]] = field(default_factory=list)
    n_averaged: int = 0

    @torch.no_grad()
    def apply(self, module: nn.Module, average: WeightAverage, optimizer: torch.optim.Optimizer) -> None:
        """Continue from here; the module still has the averaged weights."""
        if not self.weights:
            return
        average.n_seen = self.n_averaged
        for parameter, weight in zip(trainable_parameters(module), self.weights, strict=True):
            parameter.copy_(weight)
        state = optimizer.state_dict()
        moments = [self.moments[place] for place in places(module, optimizer)]
        optimizer.load_state_dict(state | {"state": {i: found for i, found in enumerate(moments) if found}})

    def store(self, module: nn.Module, average: WeightAverage, optimizer: torch.optim.Optimizer) -> None:
        """Remember this place; the module has the weights of the last step."""
        self.n_averaged = average.n_seen
        self.weights = [parameter.detach().clone() for parameter in trainable_parameters(module)]
        self.moments, found = [{} for _ in self.weights], optimizer.state_dict()["state"]
        for i, place in enumerate(places(module, optimizer)):
            self.moments[place] = found.get(i, {})


def places(module: nn.Module, optimizer: torch.optim.Optimizer) -> list[int]:
    """The place in the module of each parameter of the optimizer, which has them in groups."""
    place_of = {id(parameter): place for place, parameter in enumerate(trainable_parameters(module))}
    return [place_of[id(parameter)] for group in optimizer.param_groups for parameter in group["params"]]
