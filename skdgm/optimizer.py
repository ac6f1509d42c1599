"""The trained parameters of a module as one vector, and Adam on it.

A step on one vector takes a few calls, however many parameters a module has. ``torch.optim`` is not used: its Python
code costs more than the arithmetic of a small step, and its first use imports torch's compiler, which takes a second.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

# Those of Kingma and Ba 2015, arXiv 1412.6980, algorithm 1: decay of the moments, and what is added to the square root.
BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8
# Devices on which torch has Adam as one kernel.
FUSED = ("cpu", "cuda")
# Far above the norm in normal steps: the limit only keeps a single extreme batch from ruining the weights.
MAX_GRADIENT_NORM = 1e4


class Rates(Protocol):
    """What ``Adam`` reads of the settings of a training."""

    @property
    def rate_factors(self) -> Mapping[str, float]:
        """Factors on the learning rate, by prefix of parameter names."""
        ...

    def penalty(self, name: str) -> float:
        """L2 penalty of a weight matrix."""
        ...


def value_of_longest_prefix(values: Mapping[str, float], name: str, otherwise: float) -> float:
    """The value of the longest key that ``name`` begins with, else ``otherwise``."""
    return max(((len(key), value) for key, value in values.items() if name.startswith(key)), default=(0, otherwise))[1]


class ParameterVector:
    """The trained parameters of a module, end to end in its order; they are views of ``values`` until ``release``.

    Attributes
    ----------
    parameters : dict
        The parameters by name.
    values, gradient : Tensor of shape (n_parameters,)
    """

    def __init__(self, module: nn.Module) -> None:
        self.parameters = {name: p for name, p in module.named_parameters() if p.requires_grad and p.numel()}
        self.values = flat(list(self.parameters.values()))
        self.gradient = torch.zeros_like(self.values)
        for parameter, view in zip(self.parameters.values(), self.views(self.values), strict=True):
            parameter.data = view

    def views(self, vector: Tensor) -> list[Tensor]:
        """A vector of this size in parts with the shapes of the parameters."""
        parts = vector.split([p.numel() for p in self.parameters.values()])
        return [part.view_as(p) for part, p in zip(parts, self.parameters.values(), strict=True)]

    def collect_gradient(self) -> None:
        """Move the parameters' gradients to ``gradient``; a parameter without one has gradient 0."""
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in self.parameters.values()]
        torch.cat([gradient.reshape(-1) for gradient in gradients], out=self.gradient)
        self.discard_gradient()

    def discard_gradient(self) -> None:
        """Remove the parameters' gradients."""
        for parameter in self.parameters.values():
            parameter.grad = None

    def clip_gradient(self) -> None:
        """Scale the gradient down to the norm ``MAX_GRADIENT_NORM`` if it is longer."""
        norm = torch.linalg.vector_norm(self.gradient)
        if norm.device.type != "cpu":  # do not wait for the norm
            self.gradient.mul_((MAX_GRADIENT_NORM / norm).clamp(max=1.0))
        elif norm > MAX_GRADIENT_NORM:
            self.gradient.mul_(MAX_GRADIENT_NORM / norm)

    def release(self) -> None:
        """Give every parameter its own memory again: as a view, it would be pickled with the whole vector."""
        for parameter in self.parameters.values():
            parameter.data = parameter.data.clone()


def flat(parts: Sequence[Tensor]) -> Tensor:
    """The cells of all parts in one vector."""
    return torch.cat([part.detach().reshape(-1) for part in parts])


class Adam:
    """Adam (Kingma and Ba 2015, arXiv 1412.6980), with the penalties on weight matrices as weight decay.

    Attributes
    ----------
    mean, square : Tensor of shape (n_parameters,)
        Moving averages of the gradient and of its square.
    n_steps : Tensor of shape ()
        Number of steps in the moments.
    """

    def __init__(self, vector: ParameterVector, rates: Rates) -> None:
        self.mean, self.square = torch.zeros_like(vector.values), torch.zeros_like(vector.values)
        self.n_steps = torch.zeros((), device=vector.values.device)
        # per pair of a penalty and a factor on the rate: values, gradients, means, squares of their parameters
        self.groups: dict[tuple[float, float], list[list[Tensor]]] = {}
        quantities = map(vector.views, (vector.values, vector.gradient, self.mean, self.square))
        for (name, p), views in zip(vector.parameters.items(), zip(*quantities, strict=True), strict=True):
            penalty = rates.penalty(name) if p.ndim > 1 else 0.0
            factor = value_of_longest_prefix(rates.rate_factors, name, 1.0)
            group = self.groups.setdefault((penalty, factor), [[], [], [], []])
            for members, view in zip(group, views, strict=True):
                members.append(view)

    def reset(self) -> None:
        """Forget all gradients so far."""
        for moment in (self.mean, self.square, self.n_steps):
            moment.zero_()

    def set_state(self, n_steps: int, mean: Tensor, square: Tensor) -> None:
        """Come back to earlier moments."""
        self.n_steps.fill_(n_steps)
        self.mean.copy_(mean)
        self.square.copy_(square)

    @torch.no_grad()
    def step(self, rate: float | Tensor) -> None:
        """Take a step at this learning rate."""
        self.n_steps += 1
        for (penalty, factor), group in self.groups.items():
            if self.mean.device.type in FUSED:
                torch._fused_adam_(
                    *group,  # type: ignore[call-overload]
                    max_exp_avg_sqs=[],
                    state_steps=[self.n_steps] * len(group[0]),
                    lr=rate * factor,
                    beta1=BETA_1,
                    beta2=BETA_2,
                    weight_decay=penalty,
                    eps=EPSILON,
                    amsgrad=False,
                    maximize=False,
                )
            else:
                for value, gradient, mean, square in zip(*group, strict=True):
                    adam_step(value, gradient, mean, square, self.n_steps, rate * factor, penalty)


def adam_step(
    value: Tensor,
    gradient: Tensor,
    mean: Tensor,
    square: Tensor,
    t: Tensor,
    rate: float | Tensor,
    penalty: float = 0.0,
    epsilon: float = EPSILON,
) -> None:
    """Algorithm 1 of the paper, in place; ``penalty`` adds 0.5 penalty ||value||^2 to the loss."""
    g = gradient + penalty * value
    mean.lerp_(g, 1 - BETA_1)
    square.lerp_(g**2, 1 - BETA_2)
    mean_hat, square_hat = mean / one_minus_power(BETA_1, t), square / one_minus_power(BETA_2, t)
    value.sub_(rate * mean_hat / (square_hat.sqrt() + epsilon))


def one_minus_power(beta: float, t: Tensor) -> Tensor:
    """1 - beta^t, exact where beta^t is near 1."""
    return -torch.expm1(t * math.log(beta))
