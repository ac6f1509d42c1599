"""Noise that belongs to a row."""

import itertools

import numpy as np
import scipy.stats
import torch

from skdgm.distributions import Bernoulli
from skdgm.noise import RowNoise, hash_rows, standard_normal


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def noise(*shape, seed=0):
    return torch.randn(shape, generator=generator(seed))


def test_a_rows_noise_does_not_depend_on_its_company():
    """The same row draws the same noise alone, in any order, and padded, in a second draw too."""
    tape, x = noise(10007), noise(6, 4, seed=1)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    together, shuffled, alone = RowNoise(tape, x), RowNoise(tape, x[order]), RowNoise(tape, x[2:3])
    for shape in [(3, 2), (2, 5, 3, 2), (7, 3, 1)]:
        *lead, _, d = shape
        all_rows = together.normal((*lead, 6, d))
        assert torch.equal(shuffled.normal((*lead, 6, d)), all_rows[..., order, :])
        assert torch.equal(alone.normal((*lead, 1, d)), all_rows[..., 2:3, :])


def test_noise_of_different_rows_differs_and_reads_on():
    """Two rows share no noise, and a second draw is a new one."""
    drawing = RowNoise(noise(1 << 16), noise(50, 4, seed=1))
    first, second = drawing.normal((50, 8)), drawing.normal((50, 8))
    assert len(np.unique(first.numpy(), axis=0)) == 50
    assert not (first == second).any()
    drawn = standard_normal((3, 50, 8), drawing, like=first)
    assert drawn.shape == (3, 50, 8) and len(np.unique(drawn.numpy().reshape(150, 8), axis=0)) == 150


def test_row_noise_is_standard_normal_over_rows():
    """Kolmogorov-Smirnov over the first draw of 3,000 rows, and no correlation between neighbors."""
    x = torch.linspace(0, 1, 3000)[:, None].expand(3000, 3)
    draws = RowNoise(noise(1 << 18), x).normal((3000, 2)).numpy()
    assert scipy.stats.kstest(draws[:, 0], scipy.stats.norm.cdf).pvalue > 0.001
    assert abs(np.corrcoef(draws[:-1, 0], draws[1:, 0])[0, 1]) < 0.07
    assert abs(np.corrcoef(draws.T)[0, 1]) < 0.07


def test_hash_reads_values_not_signs_of_zero_and_places():
    """-0.0 is 0.0; another value, or the same values in another order, hash differently; all lie in [0, 2^62)."""
    x = noise(200, 5)
    hashed = hash_rows(x)
    assert len(set(hashed.tolist())) == 200 and 0 <= hashed.min() and hashed.max() < 2**62
    assert torch.equal(hash_rows(torch.zeros(1, 5)), hash_rows(-torch.zeros(1, 5)))
    assert not (hash_rows(x.flip(1)) == hashed).any()
    binary = torch.tensor(list(itertools.product([0.0, 1.0], repeat=10)))
    offsets = hash_rows(binary) % (1 << 20)
    assert len(set(offsets.tolist())) > 1000  # of 1024: they spread over the tape


def test_bernoulli_draws_of_a_row_belong_to_it():
    """Under RowNoise: the mean is right, and neighbors and order change nothing."""
    x, tape = noise(6, 3), noise(10_007, seed=5)
    draws = Bernoulli(noise(6, 4, seed=3)).expand(3000).rsample(RowNoise(tape, x))
    assert set(draws.unique().tolist()) == {0.0, 1.0}
    np.testing.assert_allclose(draws.mean(0), torch.sigmoid(noise(6, 4, seed=3)), atol=0.04)
    turned = Bernoulli(noise(6, 4, seed=3).flip(0)).expand(3000).rsample(RowNoise(tape, x.flip(0)))
    torch.testing.assert_close(turned.flip(1), draws)
