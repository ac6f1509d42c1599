"""Tests of the best latent marginal: the order of its bounds, its certificate, and what it says about upper layers."""

import math

import numpy as np
import pytest
import scipy.optimize
import torch

from skdgm import training
from skdgm.models.contrastive_divergence import ContrastiveDivergence
from skdgm.models.enumeration import all_codes, distinct_draws, log_mixture
from skdgm.models.latent_marginal import best_latent_marginal, log_latent_marginal, q_bounds
from skdgm.models.partition import exact_log_partition
from skdgm.models.rbm import RBMModule
from skdgm.models.stack import new_layer
from skdgm.sources import ResidentSource

KINDS = ["rich", "vanilla", "rbm"]
N_COLUMNS, N_HIDDEN = 8, 4


def some_rows(n=60, seed=0):
    """Binary rows of two noisy patterns."""
    rng = torch.Generator().manual_seed(seed)
    patterns = torch.tensor([[1, 1, 1, 1, 0, 0, 0, 0], [0, 1, 0, 1, 1, 0, 1, 0]]).float()
    x = patterns[torch.randint(2, (n,), generator=rng)]
    return (x - torch.bernoulli(torch.full_like(x, 0.1), generator=rng)).abs()


def a_layer(kind, seed=0, trained=False, likelihood="bernoulli"):
    """A layer with random parameters, or trained for some epochs."""
    rng = torch.Generator().manual_seed(seed)
    encoder = {"hidden": [6], "activation": "tanh"} if kind == "rich" else {}
    layer = new_layer(kind, N_COLUMNS, N_HIDDEN, likelihood, rng=rng, **encoder)
    if trained:
        learn = ContrastiveDivergence(layer) if kind == "rbm" else layer.bound
        term = training.Term("", ResidentSource(some_rows()), lambda batch, rng: learn(batch.x, rng), 1.0, 20)
        training.train(layer, [term], training.Settings(40, 3e-2), rng)
    else:
        with torch.no_grad():
            for parameter in layer.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=rng))
    return layer.requires_grad_(False)


layers = pytest.mark.parametrize(
    "layer",
    [a_layer(kind, seed, trained) for kind in KINDS for seed in range(3) for trained in (False, True)],
    ids=lambda layer: type(layer).__name__,
)


@layers
def test_q_is_a_distribution_over_codes(layer):
    x, codes = some_rows(), all_codes(N_HIDDEN)
    assert torch.exp(log_latent_marginal(layer, x, codes)).sum().item() == pytest.approx(1, abs=1e-5)


@layers
def test_bounds_are_their_definitions(layer):
    """They equal loops over rows and codes in NumPy, with nothing but log_prob."""
    x, source, codes = some_rows(5), some_rows(7, seed=1), all_codes(N_HIDDEN)
    log_p = np.array([[layer.p_x(h[None]).log_prob(row[None]).item() for h in codes] for row in x])
    log_q = np.array([[layer.q_h(row[None]).log_prob(h[None]).item() for h in codes] for row in x])
    q_data = np.mean([[np.exp(layer.q_h(row[None]).log_prob(h[None]).item()) for h in codes] for row in source], 0)
    bounds = q_bounds(layer, x, codes, source)
    np.testing.assert_allclose(bounds.q_lower.numpy(), np.log(np.exp(log_p) @ q_data), rtol=1e-4)
    own = np.log((np.exp(log_p) * np.exp(log_q)).sum(1)) - math.log(5)
    np.testing.assert_allclose(bounds.autoencoder.numpy(), own, rtol=1e-4)


@layers
def test_order_of_the_bounds(layer):
    """Certified U >= U_t >= q lower bound >= autoencoder's bound, which is above minus the loss - log|D|."""
    x, codes = some_rows(), all_codes(N_HIDDEN)
    bounds, best = q_bounds(layer, x, codes, x), best_latent_marginal(layer, x, codes)
    loss = (layer.q_h(x).cross_log_prob(codes).T.exp() * layer.p_x(codes).cross_log_prob(x)).sum(1)
    values = [best.certified, bounds.q_lower.mean(), bounds.autoencoder.mean(), loss.mean() - math.log(len(x))]
    values = [float(value) for value in values]
    assert values == sorted(values, reverse=True)
    assert best.values[-1] >= float(bounds.q_lower.mean()) - 0.011  # EM ends within 0.01 of the optimum
    assert best.certified - best.values[-1] <= 0.011


@layers
def test_em_never_falls_and_reaches_the_optimum(layer):
    """It is monotone, and within the certificate of the value of a general optimizer over the simplex."""
    x, codes = some_rows(), all_codes(N_HIDDEN)
    best = best_latent_marginal(layer, x, codes)
    assert (np.diff(best.values) >= -1e-6).all()
    assert torch.exp(best.log_marginal).sum().item() == pytest.approx(1, abs=1e-5)
    p = np.exp(layer.p_x(codes).cross_log_prob(x).double().numpy())

    def loss(logits):
        q = np.exp(logits - np.logaddexp.reduce(logits))
        force = (p / (p @ q)[:, None]).mean(0)
        return -np.log(p @ q).mean(), -q * (force - 1)

    optimum = -scipy.optimize.minimize(loss, np.zeros(len(codes)), jac=True, method="L-BFGS-B").fun
    assert best.values[-1] - 1e-4 <= optimum <= best.certified + 1e-4


@layers
@pytest.mark.parametrize("seed", [0, 1])
def test_theorem(layer, seed):
    """U >= E log P >= U - KL(Q || P_J) for any RBM above: a layer can lose at most the KL."""
    x, codes = some_rows(), all_codes(N_HIDDEN)
    best = best_latent_marginal(layer, x, codes)
    rng = torch.Generator().manual_seed(seed)
    top = RBMModule(N_HIDDEN, 3, "bernoulli", rng).requires_grad_(False)
    for parameter in top.parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=rng))
    log_prior = -top.free_energy(codes) - exact_log_partition(top)
    density = log_mixture(layer.p_x(codes), log_prior, x).mean().item()
    q = torch.exp(best.log_marginal)
    kl = torch.where(q > 0, q * (best.log_marginal - log_prior), 0.0).sum().item()
    assert best.certified >= density >= best.certified - 0.011 - kl - 1e-4


@layers
def test_sampled_codes_bound_from_below(layer):
    """The truncated sum rises with the number of draws, up to the full sum."""
    x = some_rows()
    whole = q_bounds(layer, x, all_codes(N_HIDDEN), x)
    rng = torch.Generator().manual_seed(0)
    few = distinct_draws(layer, x, 1, rng)
    assert len(torch.unique(few, dim=0)) == len(few)
    truncated = q_bounds(layer, x, few, x)
    assert (truncated.q_lower <= whole.q_lower + 1e-4).all()
    assert (truncated.autoencoder <= whole.autoencoder + 1e-4).all()
    assert truncated.q_lower.mean() >= truncated.autoencoder.mean()


def test_bounds_do_not_depend_on_the_table_size(monkeypatch):
    layer, x, codes = a_layer("rich"), some_rows(), all_codes(N_HIDDEN)
    whole, em = q_bounds(layer, x, codes, x), best_latent_marginal(layer, x, codes)
    monkeypatch.setattr("skdgm.models.enumeration.TABLE_CELLS", 40)
    parts, em_parts = q_bounds(layer, x, codes, x), best_latent_marginal(layer, x, codes)
    torch.testing.assert_close(parts.q_lower, whole.q_lower)
    torch.testing.assert_close(parts.autoencoder, whole.autoencoder)
    assert em_parts.certified == pytest.approx(em.certified, abs=1e-4)


def test_far_rows_stay_finite():
    """Rows that no code explains have probabilities below the smallest float32 number."""
    layer = a_layer("rich", likelihood="gaussian")
    x = torch.full((4, N_COLUMNS), 300.0)
    best = best_latent_marginal(layer, x, all_codes(N_HIDDEN))
    assert math.isfinite(best.certified) and best.certified >= best.values[-1]
