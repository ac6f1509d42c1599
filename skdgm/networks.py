"""Networks that return distributions.

``MLP`` maps one or several inputs to outputs; the three ``...Network`` classes put a distribution on top of it. Inputs
broadcast against each other after the first layer, so a network of (x, y) evaluates every class for every row while
the part of x is computed once. Weights are initialised from a generator; the global one is neither read nor set.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skdgm.distributions import Categorical, Distribution, Normal
from skdgm.likelihoods import LIKELIHOODS, bounded

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "softplus": F.softplus,
    "relu": F.relu,
    "tanh": torch.tanh,
    "silu": F.silu,
}


class Affine(nn.Module):
    """``weight @ x + bias``, Glorot-uniform weights drawn from ``rng``, bias 0."""

    def __init__(self, n_in: int, n_out: int, rng: torch.Generator | None, *, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_out, n_in))
        self.bias = nn.Parameter(torch.zeros(n_out)) if bias else None
        nn.init.xavier_uniform_(self.weight, generator=rng)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)


class ClassAffine(nn.Module):
    """The affine map of a one-hot label, read off by index: cheap for a thousand classes."""

    def __init__(self, n_classes: int, n_out: int, rng: torch.Generator | None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_classes, n_out))
        nn.init.xavier_uniform_(self.weight, generator=rng)

    def forward(self, y: Tensor) -> Tensor:
        return F.embedding(y, self.weight)


class MLP(nn.Module):
    """Multi-layer perceptron on a row x and, where ``n_classes`` is given, on its class y.

    Parameters
    ----------
    n_in, n_out : int
        Columns of x and of the output.
    hidden : sequence of int
        Hidden layer sizes; empty for an affine map.
    activation : str
        Name in ``ACTIVATIONS``, applied after each hidden layer.
    rng : torch.Generator or None
        Draws the weights.
    n_classes : int
        Classes of y; 0 for a network of x alone.
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        hidden: Sequence[int],
        activation: str,
        rng: torch.Generator | None,
        n_classes: int = 0,
    ) -> None:
        super().__init__()
        sizes = [n_in, *hidden, n_out]
        self.layers = nn.ModuleList(Affine(a, b, rng) for a, b in zip(sizes[:-1], sizes[1:], strict=True))
        self.of_class = ClassAffine(n_classes, sizes[1], rng) if n_classes else None
        self.activation = ACTIVATIONS[activation]

    def forward(self, x: Tensor, y: Tensor | None = None, rows: Tensor | None = None) -> Tensor:
        """Outputs of shape (broadcast of x's and y's batch, n_out), always float32.

        ``y`` holds class indices. With ``rows``, entry i of y goes with row ``rows[i]`` of x.
        """
        h = self.layers[0](x)
        if rows is not None:
            h = h[rows]
        if self.of_class is not None and y is not None:
            h = h + self.of_class(y)
        for layer in self.layers[1:]:
            h = layer(self.activation(h))
        return h.float()


class NormalNetwork(nn.Module):
    """q(z | x) or q(z | x, y): a diagonal normal whose mean and log-variance share the hidden layers."""

    def __init__(
        self,
        n_in: int,
        n_out: int,
        hidden: Sequence[int],
        activation: str,
        rng: torch.Generator | None,
        n_classes: int = 0,
    ) -> None:
        super().__init__()
        self.mlp = MLP(n_in, 2 * n_out, hidden, activation, rng, n_classes)
        with torch.no_grad():  # begin at sd 1, so that the first codes say little and the KL is near 0
            self.mlp.get_parameter(f"layers.{len(hidden)}.weight")[n_out:].zero_()

    def forward(self, x: Tensor, y: Tensor | None = None, rows: Tensor | None = None) -> Normal:
        mean, log_var = self.mlp(x, y, rows).chunk(2, -1)
        return Normal(mean, bounded(log_var))


class CategoricalNetwork(nn.Module):
    """q(y | x): a class per row."""

    def __init__(
        self, n_in: int, n_classes: int, hidden: Sequence[int], activation: str, rng: torch.Generator | None
    ) -> None:
        super().__init__()
        self.mlp = MLP(n_in, n_classes, hidden, activation, rng)

    def forward(self, x: Tensor) -> Categorical:
        return Categorical(self.mlp(x))


class DecoderNetwork(nn.Module):
    """p(x | z) or p(x | y, z) under a likelihood named in ``LIKELIHOODS``."""

    def __init__(
        self,
        n_in: int,
        n_columns: int,
        hidden: Sequence[int],
        activation: str,
        likelihood: str,
        rng: torch.Generator | None,
        n_classes: int = 0,
    ) -> None:
        super().__init__()
        self.likelihood = LIKELIHOODS[likelihood]
        n_out = self.likelihood.outputs_per_column * n_columns
        self.mlp = MLP(n_in, n_out, hidden, activation, rng, n_classes)
        self.shared = nn.Parameter(torch.zeros(self.likelihood.shared_per_column * n_columns))

    def forward(self, z: Tensor, y: Tensor | None = None, observed: Tensor | None = None) -> Distribution:
        return self.likelihood(self.mlp(z, y), self.shared, observed)
