"""Deep latent Gaussian models: Rezende, Mohamed, Wierstra 2014 (arXiv 1401.4082)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

from torch import Generator, Tensor, nn

from skdgm.distributions import Distribution
from skdgm.likelihoods.columns import Groups, MixedLikelihood
from skdgm.models.gaussian_latent import GaussianLatentModule
from skdgm.models.holes import learned_holes
from skdgm.models.priors import prior
from skdgm.networks import COVARIANCES, MLP, Affine, ColumnLayers, DecoderNetwork, NormalNetwork
from skdgm.networks.sizes import Builder
from skdgm.structured_normals import AnyNormal, BlockNormal, LowerLayer, ProductNormal, TopDownNormal


class DLGMModule(GaussianLatentModule):
    """xi_l ~ N(0, I), h_L = xi_L, h_l = T_l(h_{l+1}) + G_l xi_l, p(x | T_0(h_1)); eqs. (1) to (3).

    q(xi | x) = prod_l N(xi_l; mu_l(x), C_l(x)), eq. (10), or with ``top_down``, q(xi_l | x, T_l(h_{l+1})) below the top
    layer (Sønderby et al. 2016, arXiv 1602.02282). Nothing is lost by reading T_l(h_{l+1}) in place of all codes above:
    p(xi_l | x, xi_{l+1}, ..., xi_L) depends on these only through it. Layers are numbered from X upward; the code z of
    the base class is (xi_1, ..., xi_L). The paper's G_L is absorbed into the affine map directly below it, so one layer
    with a diagonal covariance is the variational autoencoder.

    Parameters
    ----------
    n_columns : int
    n_latents : sequence of int
        Dimensions of xi_1, ..., xi_L.
    hidden : sequence of int
        Hidden layer sizes of the encoders, from X upward; the T_l use them in reverse order.
    activation : str
    likelihood : str or groups of columns
        As in ``likelihoods.columns``.
    posterior : str
        Name in ``COVARIANCES``.
    rank : int
        Rank of the low-rank posterior, at most the smallest layer's dimensions.
    rng : Generator or None
    missing_indicator : bool or sequence of bool
        For each column, whether it has missing cells in training. With any, the encoders read the mask.
    clip_inputs : bool
        Whether the encoders clip cells by ``smooth_clip``.
    linear_skip : bool
        Whether the networks have a linear path, as in ``MLP``.
    n_prior_components : int
        Components of a mixture in place of N(0, I) as the prior of the top layer's xi_L; 0 for N(0, I).
    network, image_shape
        As in ``ColumnLayers``. The T_l, which see no columns, remain MLPs.
    top_down : bool
        Whether the encoders below the top layer read T_l(h_{l+1}), beside the row. The weights of this input start at
        0, and so the encoders start as those of the row alone.
    """

    def __init__(
        self,
        n_columns: int,
        n_latents: Sequence[int],
        hidden: Sequence[int],
        activation: str,
        likelihood: str | Groups,
        posterior: str,
        rank: int,
        rng: Generator | None = None,
        missing_indicator: bool | Sequence[bool] = False,
        linear_skip: bool = False,
        clip_inputs: bool = False,
        n_prior_components: int = 0,
        network: str | Builder = "mlp",
        image_shape: Sequence[int] | None = None,
        top_down: bool = False,
    ) -> None:
        super().__init__()
        self.register_buffer("learned_holes", learned_holes(missing_indicator, n_columns), persistent=False)
        self.n_latents, downward = list(n_latents), list(hidden)[::-1]
        columns, n_indicators = MixedLikelihood(likelihood, n_columns), n_columns * bool(self.learned_holes.any())
        layers = ColumnLayers(network, columns, activation, image_shape, rng)
        covariance = COVARIANCES[posterior](rank)
        input_options = (0, n_indicators, covariance, linear_skip, clip_inputs, layers.reading("encoder"))
        self.encoders = nn.ModuleList(
            NormalNetwork(columns.n_features, d, hidden, activation, rng, *input_options) for d in n_latents
        )
        self.decoder = DecoderNetwork(n_latents[0], columns, downward, activation, rng, 0, linear_skip, layers.writing)
        below_above = list(zip(n_latents[:-1], n_latents[1:], strict=True))
        self.t = nn.ModuleList(
            MLP(above, below, downward, activation, rng, linear_skip=linear_skip) for below, above in below_above
        )
        self.g = nn.ModuleList(Affine(below, below, rng, bias=False) for below, _ in below_above)
        self.p_z = prior(n_prior_components, n_latents[-1], rng)
        self.top_down = top_down
        if top_down:
            for encoder, d in zip(self.encoders, n_latents[:-1], strict=False):
                cast(NormalNetwork, encoder).mlp.read_extra(d)

    @property
    def encoder(self) -> NormalNetwork:
        """The lowest layer's encoder."""
        return cast(NormalNetwork, self.encoders[0])

    def q_z(self, x: Tensor, observed: Tensor | None = None) -> AnyNormal:
        """q(xi | x), rows of shape (n, n_latent)."""
        features = self.decoder.features(x, observed)
        if self.top_down:
            return self.q_z_top_down(features, observed)
        blocks = [encoder(features, observed=observed) for encoder in self.encoders]
        return ProductNormal(blocks) if len(blocks) > 1 else blocks[0]

    def q_z_top_down(self, features: Tensor, observed: Tensor | None) -> TopDownNormal:
        """q(xi_L | x) prod_l q(xi_l | x, T_l(h_{l+1})) for these features of rows."""

        def given(encoder: nn.Module) -> Callable[[Tensor], BlockNormal]:
            return lambda center: encoder(features, observed=observed, extra=center)

        *encoders, top = self.encoders
        below = [LowerLayer(t, given(encoder), g) for t, encoder, g in zip(self.t, encoders, self.g, strict=True)]
        return TopDownNormal(self.n_latents, top(features, observed=observed), below[::-1])

    def p_x(self, z: Tensor, observed: Tensor | None = None) -> Distribution:
        """p(x | T_0(h_1)), rows of shape (..., n, n_columns), for z = (xi_1, ..., xi_L)."""
        return self.decoder(self.h_1(z), observed=observed)

    def h_1(self, z: Tensor) -> Tensor:
        """Compute the lowest layer's h from the top down: h_l = T_l(h_{l+1}) + G_l xi_l, eq. (2)."""
        *below, h = z.split(self.n_latents, -1)
        for xi, t, g in zip(reversed(below), reversed(self.t), reversed(self.g), strict=True):
            h = t(h) + g(xi).float()
        return h
