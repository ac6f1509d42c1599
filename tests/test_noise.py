"""Tests of a row's noise: new at every draw, independent between rows, the same in any batch."""

import itertools

import numpy as np
import pytest
import scipy.stats
import torch

import skdgm.noise
from skdgm import VAE, M1M2Classifier
from skdgm.distributions import Bernoulli, Categorical
from skdgm.noise import RowNoise, hash_rows, open_uniform, sample_bernoulli, splitmix64, standard_normal, uniform

N_DRAWS = 10_000
PVALUE = 1e-3  # seeds are fixed: a test that passes once passes always


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def some_rows(*shape, seed=0):
    return torch.randn(shape, generator=generator(seed))


@pytest.fixture
def two_threads():
    """Use two threads, and restore the number afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def is_independent(one, other):
    """Test two normals: chi-squared over 8 x 8 cells of their quantiles, and correlations up to squares."""
    one, other = np.ravel(one), np.ravel(other)
    edges = scipy.stats.norm.ppf(np.linspace(0, 1, 9)[1:-1])
    counts = np.bincount(8 * np.digitize(one, edges) + np.digitize(other, edges), minlength=64)
    limit = 4 / np.sqrt(len(one))
    plain, squared = np.corrcoef(one, other)[0, 1], np.corrcoef(one**2, other**2)[0, 1]
    return scipy.stats.chisquare(counts).pvalue > PVALUE and abs(plain) < limit and abs(squared) < limit


# --- fresh ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("d", [2, 3])
def test_ten_thousand_draws_are_different_ones(d):
    """Within a call, in a loop of calls, and in both together, for each of several rows."""
    rng, x = RowNoise(0, some_rows(4, 3)), some_rows(4, 3)
    at_once = rng.normal((N_DRAWS, 4, d))
    one_by_one = torch.stack([rng.normal((4, d)) for _ in range(N_DRAWS)])
    for row in range(len(x)):
        draws = torch.cat([at_once[:, row], one_by_one[:, row]])
        assert len(draws.unique(dim=0)) == 2 * N_DRAWS


def test_the_random_bits_of_a_row_do_not_repeat():
    """A million 64-bit words in calls of several sizes: no two are equal, within a row or between rows."""
    rng = RowNoise(1, some_rows(5, 2))
    words = torch.cat([rng.words(n, 5).flatten() for n in (1, 7, 1000, 1, 38_991)])
    assert len(words.unique()) == len(words) == 1_000_000


def slope(deviations, numbers):
    """Slope of the logarithm of a standard deviation against that of the number of draws."""
    return np.polyfit(np.log(numbers), np.log(deviations), 1)[0]


@pytest.mark.parametrize("n_per_call", [1, 20, N_DRAWS])
def test_the_error_of_a_mean_falls_with_the_root_of_the_number_of_draws(n_per_call):
    """For exp(z), over 400 seeds and up to 10,000 draws, the sd of the mean is 2.161 / sqrt(n)."""
    x = some_rows(1, 4).expand(400, 4) + torch.arange(400)[:, None]
    rng = RowNoise(3, x)
    draws = torch.cat([rng.normal((n_per_call, 400, 1)) for _ in range(N_DRAWS // n_per_call)])[..., 0].double()
    numbers = [100, 1000, N_DRAWS]
    deviations = [float(torch.exp(draws[:n]).mean(0).std()) for n in numbers]
    expected = np.sqrt(np.e * (np.e - 1)) / np.sqrt(numbers)
    np.testing.assert_allclose(deviations, expected, rtol=0.15)  # 4 standard errors for 400 seeds
    assert slope(deviations, numbers) == pytest.approx(-0.5, abs=0.03)


def test_the_noise_of_a_bound_of_m1m2_falls_with_the_number_of_draws():
    """M1M2 draws in a loop of calls. Over 128 seeds the sd of a row's bound falls as 1 / sqrt(n) up to 2,000 draws.

    Not score_samples, because its importance weights have tails too heavy for a mean of 2,000.
    """
    y = np.arange(100) % 2
    X = some_rows(100, 4).numpy() + 2 * y[:, None]
    small = {"hidden_layer_sizes": 4, "max_iter": 20, "random_state": 0}
    model = M1M2Classifier(2, encoder=VAE(2, **small), likelihood="gaussian", **small).fit(X, y)
    x, _ = model._to_tensors(X[:1])
    rng, numbers = RowNoise(0, torch.arange(128.0)[:, None]), [125, 500, 2000]
    with torch.no_grad():
        draws = torch.stack([model._model.elbo_draw(x.expand(128, -1), rng) for _ in range(numbers[-1])]).double()
    deviations = [float(draws[:n].mean(0).std()) for n in numbers]
    np.testing.assert_allclose(deviations, float(draws.std()) / np.sqrt(numbers), rtol=0.25)  # 4 standard errors
    assert slope(deviations, numbers) == pytest.approx(-0.5, abs=0.1)


# --- correctly distributed --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(20_000, 5, 2), (1, 20_000, 5), (7, 2_001, 3)])
def test_uniform_noise_is_uniform(shape):
    """Chi-squared over 1,000 cells, and over the last of its 24 bits; in [0, 1)."""
    u = RowNoise(0, some_rows(shape[1], 3)).uniform(shape)
    assert u.shape == shape and u.dtype == torch.float32 and 0 <= u.min() and u.max() < 1
    u = u.double().numpy().ravel()
    assert scipy.stats.chisquare(np.bincount((1000 * u).astype(int), minlength=1000)).pvalue > PVALUE
    last = (u * 2**24).astype(int) % 256
    assert scipy.stats.chisquare(np.bincount(last, minlength=256)).pvalue > PVALUE


@pytest.mark.parametrize("shape", [(20_000, 5, 2), (20_001, 3, 3), (50_000, 5), (3, 2, 4_001, 3)])
def test_normal_noise_is_standard_normal(shape):
    """Kolmogorov-Smirnov, and the first four moments within four standard errors."""
    z = RowNoise(0, some_rows(shape[-2], 3)).normal(shape)
    assert z.shape == shape and z.dtype == torch.float32
    z = z.double().numpy().ravel()
    assert scipy.stats.kstest(z, "norm").pvalue > PVALUE
    for power, moment, variance in [(1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)]:
        assert abs((z**power).mean() - moment) < 4 * np.sqrt(variance / len(z))


def test_normal_noise_has_its_tails():
    """Counts beyond 2, 3, 4 and 5 on either side, of 20 million draws, by Poisson probability; all draws are finite."""
    rng = RowNoise(5, some_rows(100, 2))
    counts = np.zeros((4, 2))
    for _ in range(10):
        z = rng.normal((2000, 100, 10))
        assert z.isfinite().all()
        counts += [[(z > limit).sum(), (z < -limit).sum()] for limit in (2, 3, 4, 5)]
    expected = 20_000_000 * scipy.stats.norm.sf([2, 3, 4, 5])[:, None]
    assert (scipy.stats.poisson.sf(counts - 1, expected) > PVALUE).all()
    assert (scipy.stats.poisson.cdf(counts, expected) > PVALUE).all()


def test_bits_of_a_row_have_their_probabilities():
    """The fraction of ones is within four standard errors, for sample_bernoulli() and for draws of a Bernoulli."""
    x, logits = some_rows(6, 3), some_rows(6, 4, seed=3)
    p = torch.sigmoid(logits).double()
    for draws in (
        sample_bernoulli(torch.sigmoid(logits).expand(N_DRAWS, 6, 4), RowNoise(0, x)),
        Bernoulli(logits).expand(N_DRAWS).rsample(RowNoise(1, x)),
    ):
        assert set(draws.unique().tolist()) == {0.0, 1.0}
        assert ((draws.double().mean(0) - p).abs() < 4 * torch.sqrt(p * (1 - p) / N_DRAWS)).all()


# --- independent ------------------------------------------------------------------------------------------------------


def changed_rows():
    """Pairs of rows that differ in a cell's last bit, a sign, a bit of 0/1 rows, or the order of columns."""
    x, binary = some_rows(1, 5), (some_rows(1, 5, seed=1) > 0).float()
    next_x = x.clone()
    next_x[0, 3] = torch.nextafter(x[0, 3], torch.tensor(10.0))
    flipped = binary.clone()
    flipped[0, 2] = 1 - flipped[0, 2]
    return {
        "last bit": (x, next_x),
        "sign": (x, -x),
        "one binary cell": (binary, flipped),
        "columns turned round": (x, x.flip(1)),
        "one column more": (x, torch.cat([x, torch.zeros(1, 1)], 1)),
    }


@pytest.mark.parametrize("change", changed_rows())
def test_rows_that_hardly_differ_draw_independently(change):
    """At the same draw, and shifted by a draw, a column or a call."""
    one, other = (RowNoise(0, x) for x in changed_rows()[change])
    a, b = one.normal((N_DRAWS, 1, 2))[:, 0], other.normal((N_DRAWS, 1, 2))[:, 0]
    assert is_independent(a, b)
    assert is_independent(a[1:], b[:-1])
    assert is_independent(a[:, 0], b[:, 1])
    assert is_independent(a, other.normal((N_DRAWS, 1, 2))[:, 0])


def test_rows_on_a_grid_draw_independently():
    """Neighbors among 3,000 equidistant rows, and among all binary rows of 12 columns."""
    grid = torch.linspace(0, 1, 3000)[:, None].expand(3000, 3)
    binary = torch.tensor(list(itertools.product([0.0, 1.0], repeat=12)))
    for x in (grid, binary):
        z = RowNoise(0, x).normal((4, len(x), 3))
        assert is_independent(z[:, 1:], z[:, :-1])
        assert scipy.stats.kstest(z[0, :, 0].numpy(), "norm").pvalue > PVALUE


def test_seeds_draw_independently():
    """For one row: neighbors among 2,000 seeds, and the first draws of all seeds."""
    x = some_rows(1, 3)
    z = torch.stack([RowNoise(seed, x).normal((4, 1, 3)) for seed in range(2000)])
    assert is_independent(z[1:], z[:-1])
    assert scipy.stats.kstest(z[:, 0, 0, 0].numpy(), "norm").pvalue > PVALUE


@pytest.mark.parametrize("shape", [(400, 50, 4), (401, 50, 3), (2, 5000, 2)])
def test_draws_columns_and_calls_are_independent(shape):
    """Neighbors, pairs from the same bits, and the same position in the next call."""
    rng = RowNoise(0, some_rows(shape[1], 3))
    z, following = rng.normal(shape), rng.normal(shape)
    half = (shape[0] + 1) // 2
    assert is_independent(z[1:], z[:-1])
    assert is_independent(z[..., 1:], z[..., :-1])
    assert is_independent(z[:, 1:], z[:, :-1])
    assert is_independent(z[half:], z[: shape[0] - half])
    assert is_independent(z, following)


def test_mixing_is_one_to_one_and_every_bit_depends_on_all():
    """A million numbers mix to different ones; flipping a bit flips 32 of 64 on average, each in half of the cases."""
    assert len(splitmix64(torch.arange(-500_000, 500_000)).unique()) == 1_000_000
    z = torch.randint(2**62, (4000,), generator=generator())
    for position in range(64):
        turned = splitmix64(z) ^ splitmix64(z ^ (torch.tensor(1) << position))
        shares = torch.stack([(turned >> k & 1).double().mean() for k in range(64)])
        assert (shares - 0.5).abs().max() < 5 * 0.5 / np.sqrt(len(z))


# --- dependent on the row only ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3, 2), (2, 5, 3, 2), (7, 3, 1), (1, 3, 5)])
def test_a_rows_noise_does_not_depend_on_the_batch(shape):
    """A row draws the same noise by itself, in any order, next to a copy, and in later calls."""
    x, (*lead, _, d) = some_rows(6, 4, seed=1), shape
    order = torch.tensor([3, 0, 5, 1, 4, 2, 2])
    together, shuffled, alone = RowNoise(0, x), RowNoise(0, x[order]), RowNoise(0, x[2:3])
    for name in ("normal", "uniform", "normal"):
        all_rows = getattr(together, name)((*lead, 6, d))
        assert torch.equal(getattr(shuffled, name)((*lead, 7, d)), all_rows[..., order, :])
        assert torch.equal(getattr(alone, name)((*lead, 1, d)), all_rows[..., 2:3, :])


def test_large_batches_draw_the_same_with_two_threads(two_threads):
    """And a row draws the same at any position in the batch."""
    x, shape = some_rows(512, 3), (64, 512, 5)
    with_two = RowNoise(0, x).normal(shape)
    turned = RowNoise(0, x.flip(0)).normal(shape)
    torch.set_num_threads(1)
    assert torch.equal(RowNoise(0, x).normal(shape), with_two)
    assert torch.equal(turned.flip(1), with_two)


def test_a_float64_row_draws_as_its_float32_copy():
    """RowNoise reads values as float32, and -0.0 as 0.0."""
    x = torch.rand(50, 3, generator=generator(), dtype=torch.float64)
    assert torch.equal(RowNoise(0, x).normal((50, 4)), RowNoise(0, x.float()).normal((50, 4)))
    zeros = torch.zeros(1, 5)
    assert torch.equal(RowNoise(0, zeros).normal((9, 1, 4)), RowNoise(0, -zeros).normal((9, 1, 4)))


@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli"])
def test_an_estimator_draws_the_same_for_a_float32_copy(likelihood):
    """Scores agree to the rounding of X (other draws would differ by tenths of a nat), even with huge cells."""
    X = np.random.default_rng(0).random((100, 5))
    model = VAE(2, hidden_layer_sizes=4, max_iter=2, likelihood=likelihood, random_state=0).fit(X)
    copy = X.astype(np.float32)
    np.testing.assert_allclose(model.score_samples(copy), model.score_samples(X), atol=1e-4)
    before = model.score_samples(X)
    model._noise_seed += 1
    assert np.abs(model.score_samples(X) - before).max() > 1e-2
    if likelihood == "gaussian":
        assert np.isfinite(model.score_samples(1e300 * X)).all()


def test_functions_draw_from_generators_and_from_rows():
    """standard_normal, uniform and bits draw like torch from a generator, and like RowNoise from RowNoise."""
    x, like = some_rows(4, 2), torch.zeros(1)
    shape = (3, 4, 2)
    assert torch.equal(standard_normal(shape, generator(), like), torch.randn(shape, generator=generator()))
    assert torch.equal(uniform(shape, generator(), like), torch.rand(shape, generator=generator()))
    assert torch.equal(standard_normal(shape, RowNoise(0, x), like), RowNoise(0, x).normal(shape))
    assert torch.equal(uniform(shape, RowNoise(0, x), like), RowNoise(0, x).uniform(shape))


def test_open_uniform_noise_is_never_0_or_1(monkeypatch):
    """Not at the extremes of uniform noise either, and without a shift: 1 - u is as likely as u."""
    extremes = torch.tensor([0.0, 1 - 2.0**-24])
    monkeypatch.setattr(skdgm.noise, "uniform", lambda shape, rng, like: extremes)
    assert open_uniform(extremes.shape, None, extremes).tolist() == [2.0**-25, 1 - 2.0**-25]


def test_hash_depends_on_values_and_positions():
    """Other values, or the same values in another order, hash differently; -0.0 counts as 0.0."""
    x = some_rows(200, 5)
    hashed = hash_rows(x)
    assert len(set(hashed.tolist())) == 200
    assert torch.equal(hash_rows(torch.zeros(1, 5)), hash_rows(-torch.zeros(1, 5)))
    assert not (hash_rows(x.flip(1)) == hashed).any()
    binary = torch.tensor(list(itertools.product([0.0, 1.0], repeat=16)))
    assert len(hash_rows(binary).unique()) == 1 << 16


def test_a_class_drawn_under_row_noise_has_its_probability():
    """And the global generator is left alone."""
    probs = torch.tensor([0.5, 0.0, 0.3, 0.2])
    rows = torch.arange(20_000.0)[:, None]
    before = torch.get_rng_state()
    drawn = Categorical(torch.log(probs).expand(20_000, 4)).sample(RowNoise(0, rows))
    assert torch.equal(torch.get_rng_state(), before)
    counts = torch.bincount(drawn, minlength=4)
    assert counts[1] == 0
    assert scipy.stats.chisquare(counts[probs > 0].numpy(), 20_000 * probs[probs > 0].numpy()).pvalue > PVALUE
