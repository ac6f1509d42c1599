"""Networks that return distributions: q(z | x, y), q(y | x), and p(x | y, z)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from skdgm.distributions import Categorical, Distribution, linear
from skdgm.likelihoods.columns import MixedLikelihood
from skdgm.networks.covariances import Diagonal, Full, LowRank
from skdgm.networks.kernel_features import KernelFeatures
from skdgm.networks.mlp import MLP, LayerMaker
from skdgm.structured_normals import AnyNormal

# Scale of a classifier's initial logits: near 0, but not 0, where no gradient would reach the layers below.
INITIAL_LOGITS = 1e-2

# Added to the initial class shares.
INITIAL_SHARE = 1e-3


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
        first: LayerMaker | None = None,
    ) -> None:
        super().__init__()
        self.n_out, self.covariance = n_out, covariance
        n_outputs, inputs = covariance.n_outputs(n_out), (n_classes, n_indicators)
        self.mlp = MLP(n_in, n_outputs, hidden, activation, rng, *inputs, linear_skip, clip_inputs, first)
        # start at sd 1: the first codes carry little information and the KL is near 0
        self.mlp.scale_outputs(slice(n_out, None), covariance.initial)

    @property
    def can_be_recorded(self) -> bool:
        """Whether a graph can hold the kernels: the solvers of systems of equations may need the CPU."""
        return isinstance(self.covariance, Diagonal) or self.covariance == LowRank(1)

    def forward(
        self,
        x: Tensor,
        y: Tensor | None = None,
        observed: Tensor | None = None,
        rows: Tensor | None = None,
        extra: Tensor | None = None,
    ) -> AnyNormal:
        outputs = self.mlp(x, y, observed, rows, extra)
        if observed is not None:  # for a row without observed cells the posterior is the prior: outputs 0
            is_seen = observed.any(-1, keepdim=True)
            outputs = outputs * (is_seen if rows is None else is_seen.index_select(0, rows))
        return self.covariance.normal(outputs, self.n_out)


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
        first: LayerMaker | None = None,
    ) -> None:
        super().__init__()
        self.mlp = MLP(n_in, n_classes, hidden, activation, rng, 0, n_indicators, linear_skip, clip_inputs, first)
        if linear_skip:
            self.mlp.scale_outputs(slice(None), INITIAL_LOGITS)
        self.features = KernelFeatures(n_in, n_centers) if n_centers else None
        self.kernel_weight = nn.Parameter(torch.zeros(n_classes, n_centers)) if n_centers else None

    def forward(self, x: Tensor, observed: Tensor | None = None, extra: Tensor | None = None) -> Categorical:
        logits = self.mlp(x, observed=observed, extra=extra)
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
        last: LayerMaker | None = None,
    ) -> None:
        super().__init__()
        self.likelihood = likelihood
        n_outputs = sum(likelihood.n_outputs)
        self.mlp = MLP(n_in, n_outputs, hidden, activation, rng, n_classes, linear_skip=linear_skip, last=last)
        self.shared = nn.Parameter(torch.zeros(sum(likelihood.n_shared)))

    def forward(
        self, z: Tensor, y: Tensor | None = None, observed: Tensor | None = None, extra: Tensor | None = None
    ) -> Distribution:
        return self.likelihood(self.mlp(z, y, extra=extra), self.shared, observed)

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
