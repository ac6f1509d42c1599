"""Train a stack layer by layer: each layer learns codes drawn from the layers below, and is judged before the next."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from sklearn.exceptions import ConvergenceWarning
from torch import Generator, Tensor, nn

from skdgm._warnings import warn_user
from skdgm.estimators._options import with_input_noise
from skdgm.models.binary_codes import BinaryCodeModule, output_at
from skdgm.models.centering import CenteredParameters
from skdgm.models.contrastive_divergence import ContrastiveDivergence
from skdgm.models.enumeration import MAX_CODE_BITS, codes_to_sum
from skdgm.models.latent_marginal import best_latent_marginal, clearly_above, q_bounds
from skdgm.models.partition import log_partition
from skdgm.models.rbm import RBMModule
from skdgm.models.stack import StackModule, new_layer
from skdgm.sources import Batch, EncodedSource, Source
from skdgm.training import History, Objective, Term

# Number of training rows whose means initialize the biases of a layer and the base of annealing.
ROWS_FOR_MEANS = 10_000
# The number of annealing steps is too small if the standard error of log Z, in nats, exceeds this.
MAX_PARTITION_ERROR = 0.25
# Sizes to try for a new layer, as shares of the width below, and the limits of growing.
LAYER_SHARES = (0.5, 0.25)
TOP_SHARES = (1.0, 0.5)
MAX_GROWN_SIZE = 500
MAX_LAYERS = 5

Architecture = dict[str, Any]  # the arguments of ``new_layer``
RunEngine = Callable[[nn.Module, Term, Term | None], History]  # trains a module by a term, judged by another


@dataclass(frozen=True)
class RBMObjective:
    """Contrastive divergence on the rows of a batch; the state of a training includes its chains."""

    divergence: ContrastiveDivergence

    def __call__(self, batch: Batch, rng: Generator | None) -> Tensor:
        """Write the gradients, and return the monitor of some of the rows."""
        return self.divergence(batch.x, rng, batch.weight)

    def state_dict(self) -> dict[str, Tensor]:
        """The state of the divergence."""
        return self.divergence.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Come back to a state of the divergence."""
        self.divergence.load_state_dict(state)

    def monitor(self, batch: Batch, rng: Generator | None) -> Tensor:
        """The score of held-out rows, (n,)."""
        self.divergence.update_rbm()
        return self.divergence.rbm.monitor(batch.x, rng)


@dataclass(frozen=True)
class LayerSettings:
    """Architecture and training of the layers, named as the estimator's parameters.

    ``likelihood`` is that of the rows; codes are binary. ``batch_size`` maps the number of rows to the rows per step.
    """

    inference: str
    hidden_layer_sizes: Sequence[int]
    activation: str
    likelihood: str
    input_noise: str | None
    input_noise_level: float
    n_gibbs_steps: int
    persistent: bool
    n_chains: int | None
    n_temperatures: int
    centered: bool
    early_stopping: bool
    batch_size: Callable[[int], int]
    n_bound_samples: int
    n_annealing_steps: int
    n_annealing_chains: int

    def architecture(self, kind: str, n_columns: int, n_hidden: int, level: int) -> Architecture:
        """Return the arguments of ``new_layer`` for a layer of this kind."""
        likelihood = "bernoulli" if level else self.likelihood
        architecture = {"kind": kind, "n_columns": n_columns, "n_hidden": n_hidden, "likelihood": likelihood}
        recognition = {"hidden": self.hidden_layer_sizes, "activation": self.activation}
        return architecture | (recognition if kind == "rich" else {})

    def architectures(self, n_columns: int, sizes: Sequence[int]) -> list[Architecture]:
        """Return the layers of a complete stack on rows of ``n_columns``, from the lowest up to the RBM."""
        kinds = [self.inference] * (len(sizes) - 1) + ["rbm"]
        layers = zip(kinds, [n_columns, *sizes[:-1]], sizes, range(len(sizes)), strict=True)
        return [self.architecture(*layer) for layer in layers]

    def candidates(self, kind: str, width: int, parts: Sequence[float], level: int) -> list[Architecture]:
        """Return candidate layers of this kind, with distinct sizes in proportion to the width below."""
        sizes = sorted({min(MAX_GROWN_SIZE, max(2, round(width * part))) for part in parts})
        return [self.architecture(kind, width, size, level) for size in sizes]

    def corrupted(self, source: Source, likelihood: str) -> Source:
        """Add input noise to what an autoencoder reads; "auto" flips binary cells and adds normal noise to others."""
        auto = "flip" if likelihood == "bernoulli" else "gaussian"
        kind = auto if self.input_noise == "auto" else self.input_noise
        return with_input_noise(source, kind, self.input_noise_level, likelihood)

    def divergence(self, rbm: RBMModule, mean: Tensor) -> ContrastiveDivergence:
        """Return what trains an RBM on rows with this mean."""
        return ContrastiveDivergence(
            rbm,
            self.n_gibbs_steps,
            self.persistent,
            n_chains=self.n_chains,
            n_temperatures=self.n_temperatures,
            b0=output_at(mean, rbm.likelihood),
            centered=CenteredParameters(rbm, mean) if self.centered else None,
        )

    def term(self, source: Source, objective: Objective) -> Term:
        """Return the single term of a layer's training or validation."""
        return Term(None, source, objective, 1.0, self.batch_size(source.n_rows))


@dataclass(frozen=True)
class LayerwiseData:
    """Data and functions that the layers of one fit share.

    Attributes
    ----------
    source : Source
        Training rows.
    validation : Source or None
        Held-out rows, for early stopping and for judging layers.
    device : str
    weights_rng : Generator
        Draws initial weights, on the CPU.
    new_generator, fixed_generator : callable
        Return a generator on the device: a new one at each call, or one with a fixed seed.
    run_engine : callable
        Trains the parameters of a layer in place and returns their history, given (level, architecture, module that
        holds the parameters, term, validation term).
    previous : sequence of BinaryCodeModule
        Layers of an earlier fit; new layers start at their weights.
    """

    source: Source
    validation: Source | None
    device: str
    weights_rng: Generator
    new_generator: Callable[[], Generator]
    fixed_generator: Callable[[], Generator]
    run_engine: Callable[[int, Architecture, nn.Module, Term, Term | None], History]
    previous: Sequence[BinaryCodeModule] = ()


@dataclass(frozen=True)
class TrainedLayer:
    """A layer, the arguments that built it, and the history of its training (None for a given layer)."""

    architecture: Architecture
    layer: BinaryCodeModule
    history: History | None = None

    @property
    def n_hidden(self) -> int:
        """Number of bits of a code."""
        return self.layer.n_hidden


class LayerwiseTrainer:
    """Trains the layers of a stack from the rows upward, each on codes drawn from the layers below."""

    def __init__(self, settings: LayerSettings, context: LayerwiseData) -> None:
        self.settings, self.context = settings, context

    def train(self, given: Sequence[TrainedLayer], architectures: Sequence[Architecture]) -> list[TrainedLayer]:
        """Train layers of these architectures one after another, on top of the given layers."""
        layers = list(given)
        for architecture in architectures:
            layers.append(self.train_layer(layers, architecture))
        return layers

    def train_layer(self, below: Sequence[TrainedLayer], architecture: Architecture) -> TrainedLayer:
        """Train a new layer on the codes of the layers below."""
        settings, context, level = self.settings, self.context, len(below)
        layers_below = [trained.layer for trained in below]
        source = encoded(context.source, layers_below)
        mean = column_means(source, context.new_generator())
        layer = self.new_layer(level, architecture, mean)
        held_out = None
        if settings.early_stopping and context.validation is not None:
            held_out = encoded(context.validation, layers_below)
        run = partial(context.run_engine, level, architecture)
        if isinstance(layer, RBMModule):
            history = self.train_rbm(run, settings.divergence(layer, mean), source, held_out)
        else:
            shown = settings.corrupted(source, architecture["likelihood"])
            history = self.train_autoencoder(run, layer, shown, held_out)
        return TrainedLayer(architecture, layer, history)

    def train_rbm(
        self, run: RunEngine, divergence: ContrastiveDivergence, source: Source, held_out: Source | None
    ) -> History:
        """Train an RBM by contrastive divergence."""
        objective, term = RBMObjective(divergence), self.settings.term
        validation = None if held_out is None else term(held_out, objective.monitor)
        history = run(divergence.trained, term(source, objective), validation)
        divergence.update_rbm()
        return history

    def train_autoencoder(self, run: RunEngine, layer: Any, source: Source, held_out: Source | None) -> History:
        """Train an autoencoder by its bound."""
        term = self.settings.term
        validation = None if held_out is None else term(held_out, lambda batch, rng: layer.bound(batch.x, rng))
        return run(layer, term(source, lambda batch, rng: layer.bound(batch.x, rng, batch.encoder_input)), validation)

    def new_layer(self, level: int, architecture: Architecture, mean: Tensor) -> BinaryCodeModule:
        """Build a layer that starts at the mean of its rows, or at the weights of an earlier fit."""
        layer = new_layer(**architecture, rng=self.context.weights_rng).to(self.context.device)
        layer.init_bias(mean)
        if level < len(self.context.previous):
            layer.load_state_dict(self.context.previous[level].state_dict())
        return layer

    # --- how many layers ----------------------------------------------------------------------------------------

    def grow(self, given: Sequence[TrainedLayer]) -> list[TrainedLayer]:
        """Add layers while the bound of the best one is clearly above the likelihood of the best RBM at its level."""
        layers = list(given)
        while True:
            x = self.validation_codes(layers)
            tops = self.settings.candidates("rbm", x.shape[1], TOP_SHARES, len(layers))
            top, density = self.best(layers, tops, partial(self.rbm_density, x))
            lower = self.settings.candidates(self.settings.inference, x.shape[1], LAYER_SHARES, len(layers))
            layer, bound = self.best(layers, lower, partial(self.q_bound, x))
            if len(layers) >= MAX_LAYERS - 1 or not clearly_above(bound, density):
                return [*layers, top]
            layers.append(layer)

    def validation_codes(self, below: Sequence[TrainedLayer]) -> Tensor:
        """Draw the codes of held-out rows that the next layer sees, with the same draws at each call."""
        assert self.context.validation is not None, "layers are judged by held-out rows"
        source = encoded(self.context.validation, [trained.layer for trained in below])
        indices = torch.arange(min(source.n_rows, self.settings.n_bound_samples), device=self.context.device)
        return source.rows(indices, self.context.fixed_generator()).x

    def best(
        self,
        below: Sequence[TrainedLayer],
        architectures: Sequence[Architecture],
        score: Callable[[Any], Tensor],
    ) -> tuple[TrainedLayer, Tensor]:
        """Train each architecture on the layers below; return the layer with the highest mean score, and its scores."""
        candidates = [self.train_layer(below, architecture) for architecture in architectures]
        scores = [score(candidate.layer) for candidate in candidates]
        best = max(range(len(scores)), key=lambda index: float(scores[index].mean()))
        return candidates[best], scores[best]

    @torch.no_grad()
    def rbm_density(self, x: Tensor, rbm: RBMModule) -> Tensor:
        """Compute log p(x) under an RBM, (n,)."""
        n_steps, n_chains = self.settings.n_annealing_steps, self.settings.n_annealing_chains
        log_z, _ = checked_log_partition(rbm, x.mean(0), n_steps, n_chains, self.context.fixed_generator())
        return rbm.log_prob(x, log_z)

    @torch.no_grad()
    def q_bound(self, x: Tensor, layer: BinaryCodeModule) -> Tensor:
        """Compute the lower bound with q_D of an autoencoder, (n,)."""
        codes = codes_to_sum(layer, x, "auto", 1, self.context.fixed_generator())
        return q_bounds(layer, x, codes, x).q_lower


def encoded(source: Source, below: Sequence[BinaryCodeModule]) -> Source:
    """Return the rows as the layer above these sees them: new codes are drawn at each visit."""
    return EncodedSource(source, StackModule(below).draw_codes) if len(below) else source


def column_means(source: Source, rng: Generator) -> Tensor:
    """Average some training rows, (n_columns,)."""
    return source.rows(source.order(rng)[:ROWS_FOR_MEANS], rng).x.mean(0)


# --- bounds of a layer ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LayerBounds:
    """The criterion of a layer, in nats per row; see ``StackedAutoencoder.latent_marginal_bound``."""

    q_lower_bound: float
    q_lower_bound_std: float
    upper_bound: float | None
    upper_bound_gap: float | None
    autoencoder_bound: float


def layer_bounds(
    layer: BinaryCodeModule,
    x: Tensor,
    source: Tensor,
    rng: Generator,
    log_scale: float,
    method: str = "auto",
    n_draws: int = 1,
    certify: bool = True,
) -> LayerBounds:
    """Compute the criterion of a layer at x, with q_D from the rows ``source`` and ``log_scale`` subtracted."""
    codes = codes_to_sum(layer, x if source is x else torch.cat([x, source]), method, n_draws, rng)
    bounds = q_bounds(layer, x, codes, source)
    q_lower = bounds.q_lower.double()
    certify = certify and method != "sample" and layer.n_hidden <= MAX_CODE_BITS
    best = best_latent_marginal(layer, x, codes) if certify else None
    return LayerBounds(
        q_lower_bound=float(q_lower.mean()) - log_scale,
        q_lower_bound_std=float(q_lower.std(correction=0)) / len(x) ** 0.5,
        upper_bound=best.certified - log_scale if best else None,
        upper_bound_gap=best.gap if best else None,
        autoencoder_bound=float(bounds.autoencoder.double().mean()) - log_scale,
    )


def checked_log_partition(
    rbm: RBMModule, mean: Tensor, n_steps: int, n_chains: int, rng: Generator
) -> tuple[float, float]:
    """Compute log Z and its standard error; warn if the error is large."""
    log_z, error = log_partition(rbm, mean, n_steps, n_chains, rng)
    if error > MAX_PARTITION_ERROR:
        warn_user(
            f"annealed importance sampling with n_annealing_steps={n_steps} and n_annealing_chains={n_chains} gives "
            f"log Z = {log_z:.2f} with a standard error of {error:.2f} nats: densities may be too high by "
            "several nats. Raise n_annealing_steps.",
            ConvergenceWarning,
        )
    return log_z, error
