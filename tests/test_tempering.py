"""Tests of tempered Gibbs chains against enumeration: each temperature keeps its distribution, and chains mix."""

import numpy as np
import pytest
import scipy.stats
import torch
from rbms import an_rbm

from skdgm.models.enumeration import all_codes
from skdgm.models.partition import unnormalized
from skdgm.models.tempering import exchanged, inverse_temperatures, tempered_gibbs

B0 = torch.tensor([0.5, -0.5, 0.0, 1.0])


def log_p(rbm, x, t):
    """Log of p_t(x) without its normalizer, at every temperature: x of shape (n_temperatures, n, n_columns)."""
    parts = zip(x, t.flatten().tolist(), strict=True)
    return torch.stack([unnormalized(rbm, rows, (1 - s) * B0 + s * rbm.b, s) for rows, s in parts])


def p_value(rbm, x, t):
    """Of the chi-squared test of binary rows against enumerated p_t."""
    states = all_codes(4)
    p = torch.softmax(unnormalized(rbm, states, (1 - t) * B0 + t * rbm.b, t).double(), 0).numpy()
    counts = np.bincount((x @ (2.0 ** torch.arange(4))).long(), minlength=16)
    order = (states @ (2.0 ** torch.arange(4))).long().numpy()
    return scipy.stats.chisquare(counts[order], p * len(x) / p.sum()).pvalue


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_exchange_of_a_pair_has_metropolis_probability(likelihood):
    """Frequencies of exchanges of fixed rows, against min(1, p_0(x') p_1(x) / (p_0(x) p_1(x')))."""
    rbm, rng, n = an_rbm(4, 3, likelihood, sd=0.7), torch.Generator().manual_seed(1), 4000
    t = inverse_temperatures(2, torch.device("cpu"))
    seen_below_one = False
    for _ in range(6):
        x = torch.randint(2, (2, 1, 4), generator=rng).float()
        if (x[0] == x[1]).all():
            continue
        ratio = torch.exp(log_p(rbm, x.flip(0), t).sum() - log_p(rbm, x, t).sum()).item()
        y, logits = exchanged(rbm, x.expand(2, n, 4), B0, t, rng)
        share = (y[0] == x[1]).all(-1).float().mean().item()
        expected = min(1, ratio)
        assert abs(share - expected) <= 4 * (expected * (1 - expected) / n) ** 0.5
        torch.testing.assert_close(logits, rbm.q_h(y).logits)
        seen_below_one |= expected < 0.9
    assert seen_below_one


@pytest.mark.parametrize("n_temperatures", [2, 3, 4])
def test_exchanges_move_rows_and_lose_none(n_temperatures):
    rbm, rng = an_rbm(4, 3), torch.Generator().manual_seed(0)
    x = torch.bernoulli(torch.full((n_temperatures, 50, 4), 0.5), generator=rng)
    y, _ = exchanged(rbm, x, B0, inverse_temperatures(n_temperatures, x.device), rng)
    assert (y != x).any(-1).any(-1).all(), "no temperature is left out"
    code = 2.0 ** torch.arange(4)
    assert torch.equal((x @ code).sort(0).values, (y @ code).sort(0).values)


@pytest.mark.parametrize("n_temperatures", [2, 5])
def test_every_temperature_keeps_its_distribution(n_temperatures):
    """Chi-squared tests of rows after some steps from draws of p_t(h), against enumerated p_t(x)."""
    rbm, rng, n = an_rbm(4, 3), torch.Generator().manual_seed(0), 20_000
    t = inverse_temperatures(n_temperatures, torch.device("cpu"))
    states, h = all_codes(4), []
    for s in t.flatten():
        p = torch.softmax(unnormalized(rbm, states, (1 - s) * B0 + s * rbm.b, s), 0)
        x = states[torch.multinomial(p, n, replacement=True, generator=rng)]
        h.append(torch.bernoulli(torch.sigmoid(s * rbm.q_h(x).logits), generator=rng))
    x, q_h = tempered_gibbs(rbm, torch.stack(h), B0, 3, rng)
    for rows, s in zip(x, t.flatten().tolist(), strict=True):
        assert p_value(rbm, rows, s) > 1e-3
    torch.testing.assert_close(q_h.logits, t * rbm.q_h(x).logits)


def test_tempered_chains_reach_a_mode_that_plain_ones_do_not():
    """Of two modes, all ones and all zeros, each with half of the mass; all chains start in one of them."""
    rbm = an_rbm(4, 3)
    rbm.W.fill_(6.0), rbm.c.fill_(-12.0), rbm.b.fill_(-9.0)  # p(x) is symmetric: F(x) = F(1 - x)
    torch.testing.assert_close(rbm.free_energy(torch.ones(1, 4)), rbm.free_energy(torch.zeros(1, 4)))
    rng, b0, ones = torch.Generator().manual_seed(0), torch.zeros(4), torch.ones(2000, 3)
    plain, _ = rbm.gibbs(ones, 100, rng)
    x, _ = tempered_gibbs(rbm, ones.expand(8, -1, -1), b0, 100, rng)
    assert plain.mean() > 0.9
    assert abs(x[-1].mean().item() - 0.5) < 0.05


def test_columns_are_independent_at_the_highest_temperature():
    rbm, rng = an_rbm(4, 3), torch.Generator().manual_seed(0)
    t = inverse_temperatures(3, torch.device("cpu"))
    x = rbm.p_x_at(torch.ones(3, 20_000, 3), torch.lerp(B0, rbm.b, t), t).rsample(rng)[0]
    torch.testing.assert_close(x.mean(0), torch.sigmoid(B0), atol=0.02, rtol=0)
    assert (torch.corrcoef(x.T) - torch.eye(4)).abs().max() < 0.04
