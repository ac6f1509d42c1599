"""The generative semi-supervised model: M2 of Kingma et al. 2014 (arXiv 1406.5298)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol

import torch
from torch import Generator, Tensor, nn

from skdgm.distributions import (
    Categorical,
    Distribution,
    Normal,
    contiguous_last,
    log_mean_exp,
    log_standard_normal,
    scaled_gradient,
)
from skdgm.likelihoods.columns import Groups, MixedLikelihood
from skdgm.models.adaptive import Proposal, adapted_draws, chosen_by_weight, draws_at, in_parts
from skdgm.models.bound import LabelBound
from skdgm.models.holes import N_FILLS, N_STARTS, EncoderInput, fills, has_holes, has_new_holes, learned_holes
from skdgm.models.imputation import chosen_rows, mixture_center, resampled_draws
from skdgm.models.label_sum import LabelPairs, pairs_of
from skdgm.networks import CategoricalNetwork, ColumnLayers, DecoderNetwork, NormalNetwork
from skdgm.networks.rows import rows_at
from skdgm.networks.sizes import Builder
from skdgm.noise import Rng, standard_normal
from skdgm.structured_normals import EqualMixture

# Weight of the labels' class shares in an estimated class prior, relative to 1 for the estimate from all rows: this
# number divided by that of the labels, because q(y | x) from few labels is uncertain, but at least the second one.
SHRINKAGE_LABELS, MIN_SHRINKAGE = 10.0, 0.3
MAX_DECODED_ROWS = 4096  # rows that importance weights decode at a time


class M2Module(nn.Module):
    """p(x, y, z) = p(y) p(z) p(x | y, z), eq. (2); q(y, z | x) = q(y | x) q(z | x, y), eq. (4).

    Labels are class indices. A y of shape (n_classes, 1) with rows of shape (n, n_columns) evaluates every class.

    Classes may have other shares among the labeled rows, pi_labeled(y), than among all rows, p(y). The classifier
    network is q_labeled(y | x), for rows drawn like the labeled ones; q(y | x) is proportional to
    q_labeled(y | x) p(y) / pi_labeled(y).

    Rows may end in ``n_side`` columns that are not modeled: only q(y | x) reads them. It has ``n_centers`` kernel
    features.

    A model with an auxiliary variable overrides what the inference networks read of rows, ``read``, and what is made
    of it: ``q_y_of``, ``q_z_of``, ``draw``, and ``draw_and_kl``, which holds the term of the bound.
    """

    log_p_y: Tensor
    log_p_labeled: Tensor
    log_p_counted: Tensor
    learned_holes: Tensor  # which columns had missing cells in training; the networks have learned to read these

    def __init__(
        self,
        n_columns: int,
        n_latent: int,
        hidden: Sequence[int],
        activation: str,
        likelihood: str | Groups,
        class_prior: Sequence[float],
        rng: Generator | None = None,
        linear_skip: bool = False,
        clip_inputs: bool = False,
        n_centers: int = 0,
        n_side: int = 0,
        missing_indicator: bool | Sequence[bool] = False,
        network: str | Builder = "mlp",
        image_shape: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        n_classes, upward, downward = len(class_prior), list(hidden), list(hidden)[::-1]
        self.n_latent, self.n_classes, self.n_columns, self.n_side = n_latent, n_classes, n_columns, n_side
        log_p_y = torch.log(torch.tensor(class_prior, dtype=torch.float32))
        self.register_buffer("log_p_y", log_p_y)
        # shares of the classes among the labels, as their weights count in training, and without class weights; -inf
        # for a class without labels
        self.register_buffer("log_p_labeled", log_p_y.clone())
        self.register_buffer("log_p_counted", log_p_y.clone())
        self.register_buffer("learned_holes", learned_holes(missing_indicator, n_columns), persistent=False)
        columns, n_indicators = MixedLikelihood(likelihood, n_columns), n_columns * bool(self.learned_holes.any())
        layers = ColumnLayers(network, columns, activation, image_shape, rng)
        input_options: Any = {
            "linear_skip": linear_skip,
            "clip_inputs": clip_inputs,
            "n_indicators": n_indicators,
        }
        of_classifier = input_options | {"n_centers": n_centers, "first": layers.reading("classifier")}
        of_encoder = input_options | {"first": layers.reading("encoder")}
        n_read = columns.n_fixed_features + n_side
        self.classifier = CategoricalNetwork(n_read, n_classes, upward, activation, rng, **of_classifier)
        self.encoder = NormalNetwork(columns.n_features, n_latent, upward, activation, rng, n_classes, **of_encoder)
        of_decoder = (n_classes, linear_skip, layers.writing)
        self.decoder = DecoderNetwork(n_latent, columns, downward, activation, rng, *of_decoder)

    @property
    def p_y(self) -> Categorical:
        """p(y), the class prior."""
        return Categorical(self.log_p_y)

    @torch.no_grad()
    def estimate_prior(self, mean_q_y: Tensor, unlabeled: float, labeled: float, n_labeled: int) -> None:
        """Set p(y) from the mean of q(y | x) over the unlabeled rows, shrunk toward the labels' shares.

        A step of expectation-maximization in closed form (Saerens et al. 2002). With p_all, the shares among all rows,
        p(y) = (p_all + s p_labeled) / (1 + s), s = max(0.3, 10 / n_labeled). No class that has labels can vanish.
        ``unlabeled`` and ``labeled`` are numbers of rows, or sums of their weights.
        """
        shrinkage = max(MIN_SHRINKAGE, SHRINKAGE_LABELS / n_labeled)
        p_labeled = torch.exp(self.log_p_counted)
        p_all = (unlabeled * mean_q_y + labeled * p_labeled) / (unlabeled + labeled)
        self.log_p_y.copy_(torch.log((p_all + shrinkage * p_labeled) / (1 + shrinkage)))

    def modeled(self, x: Tensor) -> Tensor:
        """The columns that the model generates, without the side columns."""
        return x[..., : self.n_columns] if self.n_side else x

    def classifier_features(self, x: Tensor, observed: Tensor | None = None) -> Tensor:
        """What q(y | x) reads of rows: features of the modeled columns, and the side columns."""
        features = self.decoder.fixed_features(self.modeled(x), observed)
        return torch.cat([features, x[..., self.n_columns :]], -1) if self.n_side else features

    def q_y_labeled(self, x: Tensor, observed: Tensor | None = None) -> Categorical:
        """The classifier for rows drawn like the labeled ones, (n, n_classes)."""
        return self.classifier(self.classifier_features(x, observed), observed)

    def q_y(self, x: Tensor, observed: Tensor | None = None) -> Categorical:
        """q(y | x) of predictions, (n, n_classes)."""
        return self.predicted(self.q_y_labeled(x, observed).log_probs, observed)

    def predicted(self, log_q_labeled: Tensor, observed: Tensor | None) -> Categorical:
        """q(y | x) from log q_labeled(y | x), times the class weights: they say which mistakes cost more."""
        log_weight = torch.where(self.log_p_labeled.isfinite(), self.log_p_labeled - self.log_p_counted, 0.0)
        return self.reweighted(log_q_labeled + log_weight, observed)

    def reweighted(self, log_q_labeled: Tensor, observed: Tensor | None) -> Categorical:
        """q(y | x) from log q_labeled(y | x), but p(y) for rows without observed cells; (..., n, n_classes)."""
        log_ratio = torch.where(self.log_p_labeled.isfinite(), self.log_p_y - self.log_p_labeled, 0.0)
        logits = log_q_labeled + log_ratio
        if observed is not None:
            logits = torch.where(observed.any(-1, keepdim=True), logits, self.log_p_y)
        return Categorical(logits)

    def q_z(self, x: Tensor, y: Tensor, observed: Tensor | None = None, rows: Tensor | None = None) -> Normal:
        """q(z | x, y), (..., n, n_latent); with ``rows``, indices of shape (m,), q(z | x_rows, y), (m, n_latent)."""
        return self.encoder(self.decoder.features(x, observed), y, observed=observed, rows=rows)

    def read(self, x: Tensor, rng: Rng, observed: Tensor | None = None) -> Any:
        """What the inference networks read of rows: here, the rows themselves."""
        return x

    def q_y_of(self, read: Any, observed: Tensor | None = None) -> Categorical:
        """q_labeled(y | x) of what ``read`` returns, (n, n_classes)."""
        return self.q_y_labeled(read, observed)

    def q_z_of(self, read: Any, y: Tensor, observed: Tensor | None = None, rows: Tensor | None = None) -> Normal:
        """q(z | x, y) of what ``read`` returns; arguments and shapes as in ``q_z``."""
        return self.q_z(self.modeled(read), y, observed, rows)

    def draw(self, read: Any, y: Tensor, rng: Rng, observed: Tensor | None = None) -> Tensor:
        """A draw of what the decoder reads: z ~ q(z | x, y)."""
        return self.q_z_of(read, y, observed).rsample(rng)

    def draw_and_kl(
        self, read: Any, y: Tensor, rng: Rng, observed: Tensor | None = None, rows: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """A draw of z ~ q(z | x, y), and KL(q(z | x, y) || p(z))."""
        q_z = self.q_z_of(read, y, observed, rows)
        return q_z.rsample(rng), q_z.kl_standard_normal()

    def p_x(self, y: Tensor, z: Tensor, observed: Tensor | None = None) -> Distribution:
        """p(x | y, z), rows of shape (..., n, n_columns)."""
        return self.decoder(z, y, observed)

    @property
    def every_class(self) -> Tensor:
        """Class indices of shape (n_classes, 1), which broadcast against any number of rows."""
        return torch.arange(self.n_classes, device=self.log_p_y.device)[:, None]

    def labeled_bound(
        self, x: Tensor, y: Tensor, rng: Rng, observed: Tensor | None = None, rows: Tensor | None = None
    ) -> LabelBound:
        """-L(x, y), eq. (6), from one draw of z: a bound on log p(x, y), of y's shape broadcast against the rows.

        With ``rows``, indices of shape (m,), y has this shape and belongs to these rows of x.
        """
        return self.bound_of(x, self.read(x, rng, observed), y, rng, observed, rows)

    def bound_of(
        self, x: Tensor, read: Any, y: Tensor, rng: Rng, observed: Tensor | None, rows: Tensor | None
    ) -> LabelBound:
        """``labeled_bound`` of rows that are read already."""
        z, kl = self.draw_and_kl(read, y, rng, observed, rows)
        p_x = self.p_x(y, z, at_rows(observed, rows))
        return LabelBound(p_x.log_prob(at_rows(self.modeled(x), rows)), kl, self.p_y.log_prob(y).expand_as(kl))

    def unlabeled_bound(
        self,
        x: Tensor,
        rng: Rng,
        observed: Tensor | None = None,
        n_enumerated: int | None = None,
        negligible: float = 0.0,
        gradient_scale: float = 1.0,
    ) -> LabelBound:
        """-U(x), eq. (7): sum_y q(y | x) (-L(x, y)) + H(q(y | x)); (n,).

        ``n_enumerated`` and ``negligible`` are those of ``pairs_of``. ``gradient_scale`` multiplies the gradient with
        respect to q(y | x), and nothing else.
        """
        read = self.read(x, rng, observed)
        q_y = self.reweighted(self.q_y_of(read, observed).log_probs, observed)
        q_y = with_scaled_gradient(q_y, gradient_scale)
        pairs = pairs_of(q_y, rng, n_enumerated, negligible)
        return expected_bound(pairs, self.bound_of(x, read, pairs.y, rng, observed, pairs.rows), q_y)

    def joint_bounds(
        self,
        unlabeled: LabeledRows,
        labeled: LabeledRows,
        classified: LabeledRows,
        rng: Rng,
        n_enumerated: int | None = None,
        negligible: float = 0.0,
        gradient_scale: float = 1.0,
    ) -> tuple[LabelBound, LabelBound, Tensor]:
        """``unlabeled_bound``, ``labeled_bound`` and ``log_q_y``, each of its rows, in one pass through each network.

        Three passes cost three times the dispatch of all operations, which is what a small step consists of.
        """
        n, m = len(unlabeled.x), len(classified.x)
        x, observed = joined(unlabeled, classified, *([] if labeled is classified else [labeled]))
        read = self.read(x, rng, observed)
        log_q_labeled = self.q_y_of(read, observed).log_probs
        q_y = with_scaled_gradient(self.reweighted(log_q_labeled[:n], unlabeled.observed), gradient_scale)
        pairs = pairs_of(q_y, rng, n_enumerated, negligible)
        rows = torch.cat([pairs.rows, torch.arange(len(x) - len(labeled.x), len(x), device=x.device)])
        bound = self.bound_of(x, read, torch.cat([pairs.y, labeled.y]), rng, observed, rows)
        parts = zip(*(term.split([len(pairs.y), len(labeled.x)]) for term in bound), strict=True)
        of_pairs, of_labeled = (LabelBound(*part) for part in parts)
        log_q_y = log_q_labeled[n : n + m].gather(-1, classified.y[:, None])[:, 0]
        return expected_bound(pairs, of_pairs, q_y), of_labeled, log_q_y

    def elbo(self, x: Tensor, rng: Rng, n_draws: int, observed: Tensor | None = None) -> Tensor:
        """The bound of eq. (7), with the expectation from ``n_draws`` draws of z per class; (n,)."""
        if observed is not None and has_new_holes(observed, self.learned_holes):
            q_y = self.q_y_marginal(x, rng, observed)
            log_w, _ = self.encoder_draws(x, self.every_class, rng, n_draws, observed)
            of_classes = contiguous_last(log_w).mean(-1) + self.log_p_y[:, None]
            return (q_y.probs * of_classes.T).sum(-1) + q_y.entropy()
        return contiguous_last(torch.stack([self.elbo_draw(x, rng, observed) for _ in range(n_draws)])).mean(-1)

    def elbo_draw(self, x: Tensor, rng: Rng, observed: Tensor | None = None) -> Tensor:
        """-U(x), eq. (7), from one draw of z per class, with a row's noise if ``rng`` is a ``RowNoise``; (n,)."""
        read = self.read(x, rng, observed)
        q_y = self.reweighted(self.q_y_of(read, observed).log_probs, observed)
        of_classes = self.bound_of(x, read, self.every_class, rng, observed, None).total()
        return (q_y.probs * contiguous_last(of_classes)).sum(-1) + q_y.entropy()

    def log_q_y(self, x: Tensor, y: Tensor, rng: Rng, observed: Tensor | None = None) -> Tensor:
        """log q_labeled(y | x), in place of the log q(y | x) that eq. (9) weights by alpha; (n,)."""
        return self.q_y_of(self.read(x, rng, observed), observed).log_prob(y)

    def log_joint(self, x: Tensor, rng: Rng, n_draws: int, observed: Tensor | None = None) -> Tensor:
        """Importance-weighted bound on log p(x, y) of every class; (n, n_classes)."""
        log_p = log_mean_exp(self.log_weights(x, rng, n_draws, observed))
        if observed is not None:
            log_p = torch.where(observed.any(-1), log_p, 0.0)
        return (log_p + self.log_p_y[:, None]).T.contiguous()

    def log_weights(self, x: Tensor, rng: Rng, n_draws: int, observed: Tensor | None = None) -> Tensor:
        """log p(x, z | y) - log q(z | x, y) at ``n_draws`` draws of z for each class; (n_draws, n_classes, n).

        Draws come in blocks whose decoded rows stay in the processor's cache, unless proposals adapt to missing cells.
        """
        block = n_draws if has_holes(observed) else max(1, MAX_DECODED_ROWS // (len(x) * self.n_classes))
        sizes = (min(block, n_draws - start) for start in range(0, n_draws, block))
        return torch.cat([self.weighted_draws(x, self.every_class, rng, n, observed)[0] for n in sizes])

    def weighted_draws(
        self, x: Tensor, y: Tensor, rng: Rng, n_draws: int, observed: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """``log_weights`` of k classes y, (k, 1), and the draws of z; (n_draws, k, n) and (n_draws, k, n, n_latent).

        There are more draws if cells are missing.
        """
        if not has_holes(observed):
            return self.encoder_draws(x, y, rng, n_draws, observed)
        x = self.modeled(x)
        q_z = Proposal.of(self.proposal(x, y, rng, observed), rng)
        p_z = Proposal.standard_normal((len(y), len(x), self.n_latent), rng, x)
        return adapted_draws(partial(self.log_joint_of, x, y, observed), q_z, p_z, rng, n_draws)

    def encoder_draws(
        self, x: Tensor, y: Tensor, rng: Rng, n_draws: int, observed: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """As ``weighted_draws``, from the encoder alone."""
        x = self.modeled(x)
        z, log_q_z = self.proposal(x, y, rng, observed).expand(n_draws).rsample_and_log_prob(rng)
        return self.log_joint_of(x, y, observed, z) - log_q_z, z

    def log_joint_of(self, x: Tensor, y: Tensor, observed: Tensor | None, z: Tensor) -> Tensor:
        """log p(x, z | y) at draws of z, (..., k, n)."""
        return self.p_x(y, z, observed).log_prob(x) + log_standard_normal(z)

    def log_likelihood(self, x: Tensor, rng: Rng, n_draws: int, observed: Tensor | None = None) -> Tensor:
        """Importance-weighted bound on log p(x), with the label summed out; (n,)."""
        return torch.logsumexp(self.log_joint(x, rng, n_draws, observed), -1)

    def code(self, x: Tensor, observed: Tensor | None = None) -> Tensor:
        """E_q[z | x] = sum_y q(y | x) E_q[z | x, y]; (n, n_latent)."""
        means = self.q_z(self.modeled(x), self.every_class, observed).mean
        q_y = self.reweighted(self.q_y_labeled(x, observed).log_probs, observed)
        return torch.einsum("ny,ynd->nd", q_y.probs, means)

    # --- missing cells that the networks have not learned to read -----------------------------------------------

    def proposal(self, x: Tensor, y: Tensor, rng: Rng, observed: Tensor | None = None) -> Normal | EqualMixture:
        """q(z | x_observed, y) of k classes y, (k, 1); rows of shape (k, n, n_latent)."""
        if observed is None or not has_new_holes(observed, self.learned_holes):
            return self.q_z(x, y, observed)

        filled, mask = self.filled_given(x, y, rng, observed)
        return EqualMixture(self.q_z(filled, y, mask))

    def filled_given(self, x: Tensor, y: Tensor, rng: Rng, observed: Tensor) -> EncoderInput:
        """Rows filled by chains over z and the missing cells for each of k classes, (n_fills, k, n, n_columns)."""

        def step(x: Tensor, mask: Tensor) -> Distribution:
            return self.p_x(y, self.draw(self.read(x, rng, mask), y, rng, mask))

        code = self.prior_draws(y, (N_STARTS, len(y), len(x)), rng)
        log_w = in_parts(lambda code: self.p_x(y, code, observed).log_prob(x), code)
        index = chosen_by_weight(log_w, rng, N_FILLS)
        start = self.p_x(y, draws_at(code, index))
        return fills(x, rng, observed, self.learned_holes, start, step, (N_FILLS, len(y)))

    def filled(self, x: Tensor, rng: Rng, observed: Tensor) -> EncoderInput:
        """Rows filled by chains over y, z, and the missing cells, (n_fills, n, n_columns), and their mask."""

        def step(x: Tensor, mask: Tensor) -> Distribution:
            read = self.read(x, rng, mask)
            y = self.reweighted(self.q_y_of(read, mask).log_probs, mask).sample(rng)
            return self.p_x(y, self.draw(read, y, rng, mask))

        y = Categorical(self.log_p_y.expand(N_STARTS, len(x), -1)).sample(rng)
        code = self.prior_draws(y, y.shape, rng)
        index = chosen_by_weight(self.p_x(y, code, observed).log_prob(x), rng, N_FILLS)
        start = self.p_x(y.gather(0, index), draws_at(code, index))
        return fills(x, rng, observed, self.learned_holes, start, step)

    def prior_draws(self, y: Tensor, shape: Sequence[int], rng: Rng) -> Tensor:
        """Draws of the code under p(z), of ``shape`` without its dimensions, to which y broadcasts."""
        return standard_normal((*shape, self.n_latent), rng, like=self.log_p_y)

    def q_y_marginal(self, x: Tensor, rng: Rng, observed: Tensor) -> Categorical:
        """q(y | x_observed): q(y | x), averaged over fills of the missing cells; (n, n_classes)."""
        return Categorical(log_mean_exp(self.q_y(*self.filled(x, rng, observed)).log_probs))

    def code_marginal(self, x: Tensor, rng: Rng, observed: Tensor) -> Tensor:
        """E_q[z | x_observed]; (n, n_latent)."""
        means = self.proposal(x, self.every_class, rng, observed).mean
        return torch.einsum("ny,ynd->nd", self.q_y_marginal(x, rng, observed).probs, means)

    # --- missing cells ------------------------------------------------------------------------------------------

    def expected(self, x: Tensor, rng: Rng, n_draws: int, observed: Tensor, y: Tensor | None = None) -> Tensor:
        """Center of p(x | x_observed), or of p(x | x_observed, y); (n, n_columns).

        Self-normalized importance sampling with ``n_draws`` draws of z for each of the classes y, (k, 1). None sums
        over all classes, which have their posterior weights p(y | x_observed).
        """
        log_w, z, y = self.joint_draws(x, rng, n_draws, observed, y)
        return mixture_center(log_w, self.p_x(y, z))

    def resampled(
        self, x: Tensor, rng: Generator | None, n_draws: int, observed: Tensor, y: Tensor | None = None
    ) -> Tensor:
        """Draw from the distribution whose center is ``expected``: class and z are resampled by weight."""
        log_w, z, y = self.joint_draws(x, rng, n_draws, observed, y)
        index = resampled_draws(log_w, rng)
        return self.p_x(y[index % len(y), 0], chosen_rows(z, index)).rsample(rng)

    def joint_draws(
        self, x: Tensor, rng: Rng, n_draws: int, observed: Tensor, y: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """log p(x, y, z) - log q(z | x, y), (n_draws, k, n), the draws of z, and the classes, (k, 1)."""
        y = self.every_class if y is None else y
        log_w, z = self.weighted_draws(x, y, rng, n_draws, observed)
        return log_w + self.log_p_y[y], z, y

    def decode(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """E[x | y, z], averaged over p(y) if y is None; (n, n_columns)."""
        if y is not None:
            return self.p_x(y, z).mean
        p_x = self.p_x(self.every_class, z)
        return p_x.center(torch.einsum("y,ynd->nd", self.p_y.probs, p_x.mean_parameters))

    def sample(self, y: Tensor, rng: Generator | None) -> Tensor:
        """Rows drawn from p(x | y), one for each entry of y."""
        z = standard_normal((len(y), self.n_latent), rng, like=self.log_p_y)
        return self.p_x(y, z).rsample(rng)


def with_scaled_gradient(q_y: Categorical, factor: float) -> Categorical:
    """q(y | x) itself, with the gradient with respect to it multiplied by ``factor``."""
    return q_y if factor == 1 else Categorical(scaled_gradient(q_y.log_probs, factor))


def expected_bound(pairs: LabelPairs, bound: LabelBound, q_y: Categorical) -> LabelBound:
    """-U(x), eq. (7), from -L(x, y) at the pairs of the sum over labels; (n,)."""
    expected = pairs.sum(bound)
    return expected._replace(label=expected.label + q_y.entropy())


class LabeledRows(Protocol):
    """Rows x, (n, n_columns), the mask of their observed cells or None, and their class indices y, (n,)."""

    x: Tensor
    observed: Tensor | None
    y: Tensor


def joined(*batches: LabeledRows) -> tuple[Tensor, Tensor | None]:
    """The rows of all, and the mask of their observed cells; a mask that is None is one of observed cells only."""
    x = torch.cat([batch.x for batch in batches])
    if all(batch.observed is None for batch in batches):
        return x, None
    masks = [torch.ones_like(b.x, dtype=torch.bool) if b.observed is None else b.observed for b in batches]
    return x, torch.cat(masks)


def at_rows(cells: Any, rows: Tensor | None) -> Any:
    """Cells, or None, at these rows; None means all."""
    return cells if cells is None or rows is None else rows_at(cells, rows)


class TermWeights(NamedTuple):
    """Weights of the means over rows of -U(x), -L(x, y) and log q(y | x) in the objective."""

    unlabeled: float
    labeled: float
    classification: float


def term_weights(n_unlabeled: float, n_labeled: float, alpha: float, normalization: str) -> TermWeights:
    """Weights of the means in J^alpha, eqs. (8) and (9); numbers of rows may be sums of their weights.

    "paper": J^alpha / N. The paper's alpha, which multiplies the mean of log q(y | x) over labeled rows, is ``alpha``
    N. "balanced": both bounds count equally, whatever the numbers of rows, and each label's log q(y | x) keeps its
    weight relative to its bound.
    """
    n_rows = n_unlabeled + n_labeled
    if normalization == "paper":
        return TermWeights(n_unlabeled / n_rows, n_labeled / n_rows, alpha)
    return TermWeights(1.0, 1.0, alpha * n_rows / n_labeled if n_labeled else 0.0)
