"""Tests of the partition function of RBMs, exact and by annealed importance sampling, against brute force."""

import math

import pytest
import scipy.special
import torch
import torch.nn.functional as F
from rbms import an_rbm

from skdgm.models.enumeration import all_codes
from skdgm.models.partition import (
    annealed_log_partition,
    exact_log_partition,
    log_partition,
    reverse_annealed_log_partition,
    reverse_annealed_log_prob,
    unnormalized,
)


def brute_force_log_z(rbm):
    """Log of the sum of exp(b x + c h + h W x) over all pairs of rows and codes, in float64."""
    W, b, c = (p.double().numpy() for p in (rbm.W, rbm.b, rbm.c))
    x, h = all_codes(rbm.n_columns).double().numpy(), all_codes(rbm.n_hidden).double().numpy()
    return scipy.special.logsumexp((x @ b)[:, None] + h @ c + x @ W.T @ h.T)


@pytest.mark.parametrize("shape", [(4, 6), (6, 4)])
def test_log_partition_by_the_smaller_side(shape):
    rbm = an_rbm(*shape)
    assert rbm.n_enumerable_bits() == 4
    assert exact_log_partition(rbm) == pytest.approx(brute_force_log_z(rbm), abs=1e-4)


def test_probabilities_of_real_rows_integrate_to_one():
    rbm = an_rbm(n_columns=1, n_hidden=4, likelihood="gaussian")
    log_z = exact_log_partition(rbm)
    grid = torch.linspace(-40, 40, 80_001)[:, None]
    assert torch.exp(-rbm.free_energy(grid) - log_z).sum().item() * 0.001 == pytest.approx(1, abs=1e-3)


def test_log_partition_is_exact_if_possible(monkeypatch):
    """It then has no error; otherwise it is annealed from independent columns with the given mean."""
    rbm, rng = an_rbm(6, 5), torch.Generator().manual_seed(0)
    mean = torch.full((6,), 0.5)
    assert log_partition(rbm, mean, 200, 200, rng) == (exact_log_partition(rbm), 0.0)
    monkeypatch.setattr("skdgm.models.partition.MAX_PARTITION_BITS", 4)
    log_z, error = log_partition(rbm, mean, 200, 200, rng)
    assert 0 < abs(log_z - exact_log_partition(rbm)) < 4 * error


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_annealing_agrees_with_brute_force(likelihood):
    """For 20 random RBMs they agree within 3 standard errors (plus the accuracy of float32 sums)."""
    off = []
    for seed in range(20):
        rbm = an_rbm(6, 5, likelihood, seed, sd=0.7)
        rng = torch.Generator().manual_seed(seed)
        log_z, error = annealed_log_partition(rbm, torch.zeros(6), 200, 200, rng)
        exact = exact_log_partition(rbm)
        if likelihood == "bernoulli":
            assert exact == pytest.approx(brute_force_log_z(rbm), abs=1e-4)
        off.append(abs(log_z - exact) - 1e-3 > 3 * error)
    assert not any(off)


def test_annealing_of_no_interaction_is_exact():
    """With b0 = b and W = 0 all weights are equal."""
    rbm = an_rbm(6, 4)
    rbm.W.zero_(), rbm.c.zero_()
    log_z, error = annealed_log_partition(rbm, rbm.b, 5, 10, torch.Generator().manual_seed(0))
    assert log_z == pytest.approx(exact_log_partition(rbm), abs=1e-4) and error < 1e-6


def end_of_annealing(rbm, b0, n_steps):
    """Probability of every row at the end of the chains, by products of their transition matrices."""
    x, h = all_codes(rbm.n_columns), all_codes(rbm.n_hidden)
    p = torch.softmax(unnormalized(rbm, x, b0, 0.0).double(), 0)
    for step in range(1, n_steps + 1):
        t = step / n_steps
        b = (1 - t) * b0 + t * rbm.b
        to_h = torch.exp(
            -F.binary_cross_entropy_with_logits(
                (t * rbm.q_h(x).logits)[:, None].expand(-1, len(h), -1), h.expand(len(x), -1, -1), reduction="none"
            ).sum(-1)
        )
        to_x = torch.exp(
            -F.binary_cross_entropy_with_logits(
                (b + t * h @ rbm.W)[:, None].expand(-1, len(x), -1), x.expand(len(h), -1, -1), reduction="none"
            ).sum(-1)
        )
        p = p @ to_h.double() @ to_x.double()
    return p


@pytest.mark.parametrize("n_steps", [1, 3])
def test_reverse_annealing_is_unbiased_for_the_end_of_annealing(n_steps):
    """Its mean weight is the probability of a row there, within 4 standard errors, and its mean logarithm is lower."""
    rbm, rng = an_rbm(4, 3), torch.Generator().manual_seed(0)
    b0, rows = torch.tensor([0.5, -0.5, 0.0, 1.0]), all_codes(4)
    exact = end_of_annealing(rbm, b0, n_steps)
    assert exact.sum().item() == pytest.approx(1, abs=1e-5)
    log_w = reverse_annealed_log_prob(rbm, rows.repeat(4000, 1), b0, n_steps, rng).view(4000, 16)
    w = torch.exp(log_w)
    assert (w.mean(0) - exact).abs().lt(4 * w.std(0) / 4000**0.5 + 1e-7).all()
    assert (log_w.mean(0) < torch.log(exact)).all()


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_reverse_annealing_approaches_log_z_from_above(likelihood):
    """From rows of the model; the more steps, the closer."""
    rbm, rng = an_rbm(6, 5, likelihood, seed=3), torch.Generator().manual_seed(0)
    exact, b0 = exact_log_partition(rbm), torch.zeros(6)
    x, _ = rbm.gibbs(torch.zeros(4000, 5), 200, rng)
    gaps = []
    for n_steps in (10, 100, 1000):
        above, error = reverse_annealed_log_partition(rbm, x, b0, n_steps, rng)
        assert above > exact - 4 * error
        gaps.append(above - exact)
    assert gaps[0] > gaps[1] > gaps[2] - 0.01 and gaps[2] < 0.05


def test_the_error_of_a_single_row_is_not_known():
    x = torch.zeros(1, 5)
    log_z, error = reverse_annealed_log_partition(an_rbm(), x, torch.zeros(5), 3, torch.Generator().manual_seed(0))
    assert math.isfinite(log_z) and error == math.inf
