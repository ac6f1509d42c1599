"""Tests of the likelihood with a piecewise linear map to normal scores."""

import numpy as np
import pytest
import scipy.stats
import torch

from skdgm.likelihoods import LIKELIHOODS
from skdgm.likelihoods.quantile import interpolate
from skdgm.noise import RowNoise

KNOTS = np.array([[-1.0, -0.5, 0.2, 0.201, 3.0], [-2.0, -0.4, 0.1, 0.4, 2.0]])
SCORES = np.array([[-2.0, -1.4, 0.6, 1.0, 2.0], [-2.0, -1.0, 0.0, 1.0, 2.0]])
ARGUMENTS = [{"knots": k.tolist(), "scores": s.tolist()} for k, s in zip(KNOTS, SCORES, strict=True)]
SHARED = torch.tensor([0.4, -0.9])


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def noise(*shape, seed=0):
    return torch.randn(shape, generator=generator(seed))


def made():
    return LIKELIHOODS["gaussian_quantile"](2, ARGUMENTS)


def piecewise(x, knots, values):
    """NumPy's interpolation, with the outermost pieces continued."""
    slopes = np.diff(values) / np.diff(knots)
    below, above = np.minimum(x - knots[0], 0), np.maximum(x - knots[-1], 0)
    return np.interp(x, knots, values) + slopes[0] * below + slopes[-1] * above


def test_features_are_the_piecewise_linear_map():
    """Inside, at the knots, and beyond; of any leading shape."""
    x = torch.tensor(np.concatenate([np.linspace(-5, 5, 101)[:, None].repeat(2, 1), KNOTS.T])).float()
    expected = np.stack([piecewise(x[:, j].numpy(), KNOTS[j], SCORES[j]) for j in range(2)], -1)
    np.testing.assert_allclose(made().features(x), expected, atol=1e-4)
    np.testing.assert_allclose(made().features(x.expand(3, -1, 2))[2], expected, atol=1e-4)


def test_the_inverse_undoes_the_map():
    x = torch.linspace(-5, 5, 101)[:, None].expand(-1, 2)
    likelihood = made()
    torch.testing.assert_close(likelihood.inverse(likelihood.features(x)), x, atol=1e-4, rtol=1e-4)


def test_slopes_are_the_derivatives():
    x = noise(50, 2).requires_grad_()
    y, slope = interpolate(x, torch.tensor(KNOTS).float(), torch.tensor(SCORES).float())
    torch.testing.assert_close(torch.autograd.grad(y.sum(), x)[0], slope)


def test_two_knots_are_a_linear_map():
    """Then the likelihood is Gaussian: x = 3 + 2 t, with the Jacobian."""
    likelihood = LIKELIHOODS["gaussian_quantile"](1, [{"knots": [1.0, 5.0], "scores": [-1.0, 1.0]}])
    outputs, x = noise(9, 1), 3 + noise(9, 1, seed=1)
    p = likelihood(outputs, SHARED[:1])
    expected = scipy.stats.norm(3 + 2 * outputs.numpy(), 2 * np.exp(0.2))
    np.testing.assert_allclose(p.log_prob(x), expected.logpdf(x.numpy())[:, 0], rtol=1e-5)
    np.testing.assert_allclose(p.mean, expected.mean(), rtol=1e-5)


@pytest.mark.parametrize("column", [0, 1])
def test_densities_integrate_to_one_and_the_mean_is_the_integral(column):
    """By Gauss-Legendre quadrature between the knots, in units of x, where a steep piece makes a narrow peak."""
    nodes, weights = np.polynomial.legendre.leggauss(200)
    limits = np.concatenate([[-30.0], KNOTS[column], [30.0]])
    half = np.diff(limits) / 2
    x = (limits[:-1, None] + half[:, None] * (1 + nodes)).ravel()
    outputs, observed = torch.tensor([[0.3, -0.7]]), (torch.arange(2) == column)[None]
    log_prob = made()(outputs, SHARED, observed).log_prob(torch.tensor(x).float()[:, None].expand(-1, 2))
    density = np.exp(log_prob.double().numpy()) * (half[:, None] * weights).ravel()
    assert density.sum() == pytest.approx(1, abs=1e-5)
    assert made()(outputs, SHARED).mean[0, column].item() == pytest.approx((x * density).sum(), abs=1e-5)


def test_the_mean_keeps_its_digits_across_a_gap():
    """Two clusters of values with nothing between them: the inverse has slopes of 1 and 20,000."""
    knots, scores = np.array([-1.5, -1.0, 1.0, 1.5]), np.array([-0.5, -5e-5, 5e-5, 0.5])
    likelihood = LIKELIHOODS["gaussian_quantile"](1, [{"knots": knots.tolist(), "scores": scores.tolist()}])
    output, log_var = torch.tensor([[0.7]]), torch.tensor([-3.0])
    nodes, weights = np.polynomial.legendre.leggauss(200)
    limits = np.array([-5.0, *scores, 5.0])
    half = np.diff(limits)[:, None] / 2
    t = limits[:-1, None] + half * (1 + nodes)
    normal = scipy.stats.norm(np.float32(0.7), np.exp(-1.5))
    expected = (piecewise(t, scores, knots) * normal.pdf(t) * half * weights).sum()
    assert likelihood(output, log_var).mean.item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("rng", [generator(), RowNoise(0, torch.arange(20_000.0)[:, None])], ids=["generator", "rows"])
def test_draws_follow_the_density(rng):
    """Kolmogorov-Smirnov of the normal scores; the mean of x within 4 standard errors."""
    outputs = 0.5 * noise(1, 2)
    p = made()(outputs.expand(20_000, -1), SHARED)
    x = p.rsample(rng).numpy()
    for j in range(2):
        cdf = scipy.stats.norm(outputs[0, j].item(), np.exp(SHARED[j].item() / 2)).cdf
        assert scipy.stats.kstest(piecewise(x[:, j], KNOTS[j], SCORES[j]), cdf).pvalue > 0.001
    assert (np.abs(x.mean(0) - p.mean[0].numpy()) < 4 * x.std(0) / np.sqrt(20_000)).all()


def test_draws_pass_gradients_through_the_inverse():
    """d draw / d output is the slope of the inverse at the draw."""
    outputs = noise(30, 2).requires_grad_()
    likelihood = made()
    draw = likelihood(outputs, SHARED).rsample(generator())
    draw.sum().backward()
    _, slope = interpolate(draw.detach(), likelihood.knots, likelihood.scores)
    torch.testing.assert_close(outputs.grad, 1 / slope, rtol=1e-3, atol=1e-3)
