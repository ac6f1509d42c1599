"""Networks that return distributions.

``MLP`` maps one or two inputs to outputs; the three ``...Network`` classes put a distribution on top of it. Inputs
broadcast against each other after the first layer: a network of (x, y) can evaluate every class for every row and
compute the part of x only once. Weights are initialized from a given generator; the global one is neither read nor set.
``COVARIANCES`` names the kinds of covariance of a normal network.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skdgm.distributions import Categorical, Distribution, Normal, linear, smooth_clip
from skdgm.likelihoods import bounded
from skdgm.likelihoods.columns import MixedLikelihood
from skdgm.structured_normals import AnyNormal, FullNormal, LowRankNormal

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "softplus": F.softplus,
    "relu": F.relu,
    "tanh": torch.tanh,
    "silu": F.silu,
}

# Scale of a classifier's initial logits: near 0, but not 0, where no gradient would reach the layers below.
INITIAL_LOGITS = 1e-2

# Added to the initial class shares.
INITIAL_SHARE = 1e-3

# With a linear path, the last layer's weights start at this fraction of Glorot's.
INITIAL_NONLINEARITY = 0.1

# A column of U narrows the posterior along it by at most this factor; far beyond, float32 cannot invert I + A^T A.
MAX_NARROWING = 100.0


class Affine(nn.Module):
    """``weight @ x + bias``, with Glorot-uniform weights drawn from ``rng`` and bias 0."""

    def __init__(self, n_in: int, n_out: int, rng: torch.Generator | None, *, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_out, n_in))
        self.bias = nn.Parameter(torch.zeros(n_out)) if bias else None
        nn.init.xavier_uniform_(self.weight, generator=rng)

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)


class ClassAffine(nn.Module):
    """The affine map of a one-hot label, looked up by index: cheap even for a thousand classes."""

    def __init__(self, n_classes: int, n_out: int, rng: torch.Generator | None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_classes, n_out))
        nn.init.xavier_uniform_(self.weight, generator=rng)

    def forward(self, y: Tensor) -> Tensor:
        return F.embedding(y, self.weight)


class MLP(nn.Module):
    """Multi-layer perceptron on a row x and, if ``n_classes`` is given, on its class y.

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
        Number of classes of y; 0 for a network of x only.
    n_indicators : int
        Number of columns whose mask of missing cells is an input as well; 0 for none.
    linear_skip : bool
        Add an affine map of the input to the output, and start with small weights in the last layer of the other path:
        the network starts out nearly linear.
    clip_inputs : bool
        Pass x through ``smooth_clip``, which keeps outlying cells from outweighing the others.
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        hidden: Sequence[int],
        activation: str,
        rng: torch.Generator | None,
        n_classes: int = 0,
        n_indicators: int = 0,
        linear_skip: bool = False,
        clip_inputs: bool = False,
    ) -> None:
        super().__init__()
        sizes = [n_in, *hidden, n_out]
        self.layers = nn.ModuleList(Affine(a, b, rng) for a, b in zip(sizes[:-1], sizes[1:], strict=True))
        self.class_embedding = ClassAffine(n_classes, sizes[1], rng) if n_classes else None
        self.missing_weight = nn.Parameter(torch.zeros(sizes[1], n_indicators)) if n_indicators else None
        self.activation, self.clip_inputs = ACTIVATIONS[activation], clip_inputs
        self.skip = None
        if linear_skip and len(hidden):
            self.skip = MLP(n_in, n_out, (), activation, rng, n_classes, n_indicators)
            self.scale_outputs(slice(None), INITIAL_NONLINEARITY, skip=1.0)

    @torch.no_grad()
    def scale_outputs(self, outputs: slice, factor: float, skip: float | None = None) -> None:
        """Multiply the weights of some outputs by ``factor``; those of the linear path by ``skip`` if given."""
        self.layers[-1].get_parameter("weight")[outputs] *= factor
        if self.skip is not None:
            self.skip.scale_outputs(outputs, factor if skip is None else skip)

    @property
    def linear_parameters(self) -> tuple[Tensor, Tensor]:
        """Weight and bias of the linear path; of the last layer if there is none."""
        affine = (self.skip or self).layers[-1]
        return affine.get_parameter("weight"), affine.get_parameter("bias")

    @property
    def linear_missing_weight(self) -> Tensor | None:
        """What a missing cell adds to the linear outputs, (n_out, n_indicators); None without indicators."""
        return (self.skip or self).missing_weight

    @torch.no_grad()
    def init_linear(self, weight: Tensor, bias: Tensor) -> None:
        """Initialize the linear path with this weight, (n_out, n_in), and bias, (n_out,)."""
        for parameter, value in zip(self.linear_parameters, (weight, bias), strict=True):
            parameter.copy_(value)

    def read(self, x: Tensor) -> Tensor:
        """The rows as the first layer reads them."""
        return smooth_clip(x) if self.clip_inputs else x

    def forward(self, x: Tensor, y: Tensor | None = None, observed: Tensor | None = None) -> Tensor:
        """Outputs of shape (broadcast of x's and y's batch, n_out), always float32.

        ``y`` holds class indices, ``observed`` the mask of observed cells.
        """
        x = self.read(x)
        h = self.layers[0](x)
        if self.missing_weight is not None and observed is not None:
            h = h + linear((~observed).to(x.dtype), self.missing_weight)
        if self.class_embedding is not None and y is not None:
            h = h + self.class_embedding(y)
        for layer in self.layers[1:]:
            h = layer(self.activation(h))
        return h.float() if self.skip is None else h.float() + self.skip(x, y, observed)


@dataclass(frozen=True)
class Diagonal:
    """Independent columns: the outputs are means and log-variances."""

    initial = 0.0

    def n_outputs(self, d: int) -> int:
        """Means and log-variances."""
        return 2 * d

    def normal(self, outputs: Tensor, d: int) -> Normal:
        """N(mean, diag)."""
        mean, log_var = outputs.split(d, -1)
        return Normal(mean, bounded(log_var))


@dataclass(frozen=True)
class LowRank:
    """Precision D + U U^T with U of ``rank`` columns."""

    rank: int
    initial = 0.1  # not 0: the bound is even in U, so its gradient is 0 there

    def n_outputs(self, d: int) -> int:
        """Means, -log D, U."""
        return (2 + self.rank) * d

    def normal(self, outputs: Tensor, d: int) -> LowRankNormal:
        """N(mean, (D + U U^T)^-1)."""
        mean, log_var, factors = outputs.split([d, d, self.rank * d], -1)
        return LowRankNormal(mean, -bounded(log_var), factors.unflatten(-1, (self.rank, d)), MAX_NARROWING)


@dataclass(frozen=True)
class Full:
    """Full covariance: the log-diagonal of its Cholesky factor, and the entries below the diagonal."""

    initial = 0.0

    def n_outputs(self, d: int) -> int:
        """Means, logarithms of the diagonal, the triangle below."""
        return 2 * d + d * (d - 1) // 2

    def normal(self, outputs: Tensor, d: int) -> FullNormal:
        """N(mean, C C^T)."""
        mean, log_var, below = outputs.split([d, d, d * (d - 1) // 2], -1)
        row, column = torch.tril_indices(d, d, -1, device=outputs.device)
        triangle = below.new_zeros(*below.shape[:-1], d * d).index_copy(-1, row * d + column, below)
        return FullNormal(mean, triangle.unflatten(-1, (d, d)) + torch.diag_embed(torch.exp(0.5 * bounded(log_var))))


COVARIANCES: dict[str, Callable[[int], Diagonal | LowRank | Full]] = {
    "diagonal": lambda rank: Diagonal(),
    "low_rank": LowRank,
    "full": lambda rank: Full(),
}


class NormalNetwork(nn.Module):
    """q(z | x) or q(z | x, y): a normal whose mean and covariance share the hidden layers; arguments as in ``MLP``."""

    def __init__(
        self,
        n_in: int,
        n_out: int,
        hidden: Sequence[int],
        activation: str,
        rng: torch.Generator | None,
        n_classes: int = 0,
        n_indicators: int = 0,
        covariance: Diagonal | LowRank | Full = Diagonal(),  # noqa: B008 - frozen
        linear_skip: bool = False,
        clip_inputs: bool = False,
    ) -> None:
        super().__init__()
        self.n_out, self.covariance = n_out, covariance
        n_outputs = covariance.n_outputs(n_out)
        self.mlp = MLP(n_in, n_outputs, hidden, activation, rng, n_classes, n_indicators, linear_skip, clip_inputs)
        # start at sd 1: the first codes carry little information and the KL is near 0
        self.mlp.scale_outputs(slice(n_out, None), covariance.initial)

    def forward(self, x: Tensor, y: Tensor | None = None, observed: Tensor | None = None) -> AnyNormal:
        outputs = self.mlp(x, y, observed)
        if observed is not None:  # for a row without observed cells the posterior is the prior: outputs 0
            outputs = outputs * observed.any(-1, keepdim=True)
        return self.covariance.normal(outputs, self.n_out)


def float32_only(device: str) -> AbstractContextManager[object]:
    """Suspend autocasting to bfloat16."""
    return torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext()


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
        with float32_only(x.device.type):  # a distance is a difference of large numbers
            squared = (x * x).sum(-1, keepdim=True) + (self.centers**2).sum(-1) - 2 * linear(x, self.centers)
            return linear(torch.exp(-self.gamma * squared.clamp(min=0)), self.whitening.T)


class CategoricalNetwork(nn.Module):
    """q(y | x): a class per row.

    With a linear path, logits start near 0 and may remain a logistic regression. With ``n_centers``, a linear map of as
    many kernel features adds to the logits: they may also remain a kernel logistic regression.
    """

    def __init__(
        self,
        n_in: int,
        n_classes: int,
        hidden: Sequence[int],
        activation: str,
        rng: torch.Generator | None,
        linear_skip: bool = False,
        clip_inputs: bool = False,
        n_centers: int = 0,
        n_indicators: int = 0,
    ) -> None:
        super().__init__()
        self.mlp = MLP(n_in, n_classes, hidden, activation, rng, 0, n_indicators, linear_skip, clip_inputs)
        if linear_skip:
            self.mlp.scale_outputs(slice(None), INITIAL_LOGITS)
        self.features = KernelFeatures(n_in, n_centers) if n_centers else None
        self.kernel_weight = nn.Parameter(torch.zeros(n_classes, n_centers)) if n_centers else None

    def forward(self, x: Tensor, observed: Tensor | None = None) -> Categorical:
        logits = self.mlp(x, observed=observed)
        if self.features is not None and self.kernel_weight is not None:
            logits = logits + linear(self.features(self.mlp.read(x)), self.kernel_weight)
        return Categorical(logits)

    @torch.no_grad()
    def init_kernel(self, weight: Tensor, centers: Tensor, gamma: float, whitening: Tensor) -> None:
        """Set the kernel features, as in ``KernelFeatures.place``, and initialize their weight."""
        if self.features is not None and self.kernel_weight is not None:
            self.features.place(centers, gamma, whitening)
            self.kernel_weight.copy_(weight)

    @torch.no_grad()
    def init_shares(self, p_y: Tensor) -> None:
        """Initialize the class shares, (n_classes,); a share of 0 becomes a small positive one."""
        _, bias = self.mlp.linear_parameters
        bias.copy_(torch.log(p_y + INITIAL_SHARE))


class DecoderNetwork(nn.Module):
    """p(x | z) or p(x | y, z) under the likelihood of the columns; other arguments as in ``MLP``."""

    def __init__(
        self,
        n_in: int,
        likelihood: MixedLikelihood,
        hidden: Sequence[int],
        activation: str,
        rng: torch.Generator | None,
        n_classes: int = 0,
        linear_skip: bool = False,
    ) -> None:
        super().__init__()
        self.likelihood = likelihood
        self.mlp = MLP(n_in, sum(likelihood.n_outputs), hidden, activation, rng, n_classes, linear_skip=linear_skip)
        self.shared = nn.Parameter(torch.zeros(sum(likelihood.n_shared)))

    def forward(self, z: Tensor, y: Tensor | None = None, observed: Tensor | None = None) -> Distribution:
        return self.likelihood(self.mlp(z, y), self.shared, observed)

    def features(self, x: Tensor, observed: Tensor | None = None) -> Tensor:
        """What the other networks read of rows, (..., n_features); 0 for missing cells."""
        return self.likelihood.features(x, observed)

    def fixed_features(self, x: Tensor, observed: Tensor | None = None) -> Tensor:
        """Features that do not change in training, (..., n_fixed_features); 0 for missing cells."""
        return self.likelihood.fixed_features(x, observed)

    def variance_log_prior(self) -> Tensor:
        """Log-density, up to a constant, of a pseudo-row whose standardized residual is 1 in every column.

        -0.5 sum_j (log var_j + 1 / var_j): a few such rows keep variances from vanishing if there are few rows.
        """
        return -0.5 * (self.shared + torch.exp(-self.shared)).sum()
