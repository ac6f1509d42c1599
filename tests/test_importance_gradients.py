"""Tests of the gradient of importance-weighted training: its mean, by quadrature, and no noise at exact posteriors."""

from itertools import product

import numpy as np
import pytest
import torch
from test_identities import generator
from test_top_down import a_module, make_posterior_exact, some_rows

from skdgm.distributions import log_mean_exp
from skdgm.sources import ResidentSource
from skdgm.training import Settings, Term, step

N_DRAWS = 2


def gradients(module, bounds, weight):
    """Gradient of the weighted sum of bounds, one vector per group of parameters."""
    module.zero_grad()
    (weight * bounds).sum().backward()
    groups = {"encoders": module.encoders, "decoder": module.decoder, "t": module.t, "g": module.g, "p_z": module.p_z}
    return {
        name: torch.cat([torch.zeros(1), *(p.grad.ravel() for p in group.parameters() if p.grad is not None)])
        for name, group in groups.items()
    }


def every_noise(n_codes, n_nodes, monkeypatch):
    """Make each draw of noise a coordinate of a quadrature grid, and return the weights of its points.

    The points take the place of rows; codes of one dimension are drawn one after the other.
    """
    nodes, weights = np.polynomial.hermite_e.hermegauss(n_nodes)
    grid = np.array(list(product(nodes, repeat=n_codes * N_DRAWS)), np.float32)
    points = torch.from_numpy(grid).reshape(-1, n_codes, N_DRAWS, 1)
    coordinates = iter(())

    def coordinate(shape, rng, like):
        nonlocal coordinates
        drawn = next(coordinates, None)
        if drawn is None:  # the next bound
            coordinates = iter(points.movedim(0, 2))
            drawn = next(coordinates)
        assert drawn.shape == shape
        return drawn

    monkeypatch.setattr("skdgm.distributions.standard_normal", coordinate)
    products = [np.prod(w) for w in product(weights / np.sqrt(2 * np.pi), repeat=n_codes * N_DRAWS)]
    return torch.tensor(products, dtype=torch.float32)


@pytest.mark.parametrize("kl_weight", [0.0, 0.3, 1.0])
@pytest.mark.parametrize(
    ("layers", "top_down", "n_nodes"), [((1,), False, 60), ((1,) * 2, False, 14), ((1,) * 2, True, 18)]
)
@pytest.mark.parametrize("n_prior_components", [0, 2])
def test_its_mean_is_the_gradient_of_the_expected_bound(
    layers, top_down, n_nodes, n_prior_components, kl_weight, monkeypatch
):
    """Both expectations are sums over a grid of noise; the one takes the derivatives of the bound as it stands."""
    module = a_module(layers, (), top_down=top_down, n_prior_components=n_prior_components, sd=0.3)
    weight = every_noise(len(layers), n_nodes, monkeypatch)
    x = some_rows(1).expand(len(weight), -1)
    found = gradients(module, module.importance_bound(x, None, N_DRAWS).total(kl_weight), weight)

    z, log_q = module.q_z(x).expand(N_DRAWS).rsample_and_log_prob(None)
    plain = log_mean_exp(module.p_x(z).log_prob(x) - kl_weight * (log_q - module.p_z.log_prob(z)))
    for name, expected in gradients(module, plain, weight).items():
        torch.testing.assert_close(found[name], expected, rtol=1e-3, atol=1e-4, msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.parametrize("n_draws", [1, 5])
@pytest.mark.parametrize("layers", [(3,), (3, 2), (2, 3, 2)])
def test_at_the_exact_posterior_it_has_no_noise(layers, n_draws):
    """All weights are p(x) then, wherever the draws are; the bound as it stands has a gradient, of mean 0."""
    module = a_module(layers, (), "gaussian", "full")
    density, x = make_posterior_exact(module), some_rows(binary=False)
    bounds = module.importance_bound(x, generator(), n_draws).total()
    np.testing.assert_allclose(bounds.detach(), density.logpdf(x), rtol=1e-4)
    assert gradients(module, bounds, 1.0)["encoders"].abs().max() < 1e-3

    plain = log_mean_exp(module.log_weights(x, generator(), n_draws))
    assert gradients(module, plain, 1.0)["encoders"].abs().max() > 0.1


@pytest.mark.parametrize("kl_weight", [0.3, 1.0])
def test_training_takes_this_gradient(kl_weight):
    """A step of training, which also computes the bound of the history, has the mean gradient of the bound itself."""
    module, x = a_module((2,), (6,), top_down=False, sd=0.5), some_rows(4)
    x, n_draws = x.repeat(5000, 1), 4

    def objective(batch, rng):
        return module.importance_bound(batch.x, rng, n_draws)

    term = Term("", ResidentSource(x), objective, 1.0, len(x))
    settings, batch = Settings(max_iter=1, learning_rate_init=0.1), term.source.rows(torch.arange(len(x)), None)
    loss = step([term], [batch], settings, generator(2), kl_weight, {})
    module.zero_grad()
    loss.backward()
    found = torch.cat([p.grad.ravel() for p in module.encoders.parameters()])
    z, log_q = module.q_z(x).expand(n_draws).rsample_and_log_prob(generator(3))
    plain = log_mean_exp(module.p_x(z).log_prob(x) - kl_weight * (log_q - module.p_z.log_prob(z)))
    expected = gradients(module, plain, -1 / len(x))["encoders"][1:]
    assert torch.linalg.vector_norm(found - expected) < 0.1 * torch.linalg.vector_norm(expected)


def test_a_bound_has_a_gradient_once():
    module, x = a_module((2,)), some_rows()
    bound = module.importance_bound(x, generator(), 3)
    with torch.no_grad():
        value = bound.total()
    torch.testing.assert_close(bound.total().detach(), value)
    with pytest.raises(RuntimeError, match="twice with gradients enabled"):
        bound.total()
