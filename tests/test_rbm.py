"""Tests of the RBM against brute force: energies, conditionals, Gibbs steps."""

import math

import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats
import torch
from rbms import an_rbm, rows

from skdgm.models.enumeration import all_codes


def minus_energy(rbm, x, h):
    """-E of every pair of rows x and codes h, (n_x, n_h), in float64, as defined at the top of rbm.py."""
    W, b, c = (p.double().numpy() for p in (rbm.W, rbm.b, rbm.c))
    x, h = np.asarray(x, np.float64), np.asarray(h, np.float64)
    if rbm.is_binary:
        return (x @ b)[:, None] + h @ c + x @ W.T @ h.T
    variance = np.exp(rbm.log_var.double().numpy())
    return (-((x - b) ** 2) / (2 * variance)).sum(1)[:, None] + h @ c + (x / variance) @ W.T @ h.T


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_free_energy_is_the_sum_over_codes(likelihood):
    rbm = an_rbm(likelihood=likelihood)
    x = rows(7)
    expected = -scipy.special.logsumexp(minus_energy(rbm, x, all_codes(3)), axis=1)
    # an absolute bound, float32's of terms up to 20: where they cancel, a row keeps few relative digits
    np.testing.assert_allclose(rbm.free_energy(x).numpy(), expected, rtol=0, atol=1e-5)


def test_free_energy_of_codes_is_the_sum_over_binary_rows():
    rbm = an_rbm()
    h = all_codes(3)
    expected = -scipy.special.logsumexp(minus_energy(rbm, all_codes(5), h), axis=0)
    np.testing.assert_allclose(rbm.free_energy_of_codes(h).numpy(), expected, rtol=1e-4)


def test_free_energy_of_codes_is_the_integral_over_real_rows():
    rbm = an_rbm(n_columns=1, likelihood="gaussian")
    for index, h in enumerate(all_codes(3)):
        integral, _ = scipy.integrate.quad(lambda v, h=h: np.exp(minus_energy(rbm, [[v]], h[None]))[0, 0], -40, 40)
        assert rbm.free_energy_of_codes(all_codes(3))[index].item() == pytest.approx(-math.log(integral), abs=1e-4)


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_conditionals_are_those_of_the_joint(likelihood):
    """q(h | x) and p(x | h) from exp(-E) by Bayes' rule."""
    rbm = an_rbm(likelihood=likelihood)
    h, x = all_codes(3), rows(6)
    joint = minus_energy(rbm, x, h)
    expected = joint - scipy.special.logsumexp(joint, axis=1, keepdims=True)
    np.testing.assert_allclose(rbm.q_h(x).cross_log_prob(h).T.numpy(), expected, atol=1e-4)
    given_h = rbm.p_x(h).cross_log_prob(x).numpy()  # p(x | h) = exp(-E) / (a function of h)
    ratio = given_h - joint
    np.testing.assert_allclose(ratio, np.broadcast_to(ratio[:1], ratio.shape), atol=1e-3)


def test_gibbs_sampling_keeps_the_joint():
    """Chi-squared test of rows after some steps from codes drawn from p(h) against enumerated probabilities."""
    rbm, rng = an_rbm(4, 3), torch.Generator().manual_seed(0)
    p_h = torch.softmax(-rbm.free_energy_of_codes(all_codes(3)), 0)
    start = all_codes(3)[torch.multinomial(p_h, 20_000, replacement=True, generator=rng)]
    x, _ = rbm.gibbs(start, 3, rng)
    counts = np.bincount((x @ (2.0 ** torch.arange(4))).long().numpy(), minlength=16)
    expected = torch.softmax(-rbm.free_energy(all_codes(4)).double(), 0).numpy() * len(x)
    assert scipy.stats.chisquare(counts, expected * counts.sum() / expected.sum()).pvalue > 1e-3


def test_pseudo_likelihood_is_its_definition():
    """It is the mean over the drawn column of n log p(x_i | others), each by enumerating two rows."""
    rbm = an_rbm(4, 3)
    x = all_codes(4)[[3, 5, 9, 14]]
    exact = torch.zeros(4)
    for column in range(4):
        flipped = x.clone()
        flipped[:, column] = 1 - flipped[:, column]
        exact += torch.nn.functional.logsigmoid(rbm.free_energy(flipped) - rbm.free_energy(x))
    rng = torch.Generator().manual_seed(0)
    drawn = torch.stack([rbm.pseudo_likelihood(x, rng) for _ in range(4000)])
    error = drawn.std(0) / math.sqrt(len(drawn))
    assert ((drawn.mean(0) - exact).abs() < 4 * error).all()
