"""Tests of the categorical likelihood: probabilities, draws, features, embeddings."""

import itertools

import numpy as np
import pytest
import scipy.stats
import torch
from scipy.special import log_softmax

from skdgm.likelihoods import LIKELIHOODS
from skdgm.likelihoods.categorical import MAX_ONE_HOT
from skdgm.likelihoods.levels import Levels, invert
from skdgm.noise import RowNoise

SIZES = [4, 2, 3, 2, 1]
NO_SHARED = torch.zeros(0)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def noise(*shape, seed=0):
    return torch.randn(shape, generator=generator(seed))


def shares_of(k, seed=0):
    return np.random.default_rng([k, seed]).dirichlet(np.full(k, 2.0)).tolist()


def columns(*sizes, values=()):
    """A likelihood of columns with these numbers of levels; ``values`` of some columns."""
    values = dict(values)
    arguments = [{"shares": shares_of(k, j), "values": values.get(j)} for j, k in enumerate(sizes)]
    return LIKELIHOODS["categorical"](len(sizes), arguments)


def split(likelihood, flat):
    """A flat axis of levels as one array per column."""
    return [flat[..., likelihood.levels.column == j].numpy() for j in range(likelihood.n_columns)]


def all_rows(*sizes):
    return torch.tensor(list(itertools.product(*[range(k) for k in sizes]))).float()


def test_levels_stand_by_size():
    """Columns with few levels first, those with equally many side by side; codes in order within a column."""
    levels = Levels([4, 2, 3, 2])
    assert levels.order.tolist() == [1, 3, 2, 0]
    assert levels.runs == [(2, 2), (1, 3), (1, 4)]
    assert levels.column.tolist() == [1, 1, 3, 3, 2, 2, 2, 0, 0, 0, 0]
    assert levels.level.tolist() == [0, 1, 0, 1, 0, 1, 2, 0, 1, 2, 3]
    assert levels.places(torch.tensor([[3.0, 0.0, 1.0, 1.0]])).tolist() == [[10, 0, 5, 3]]


def test_log_prob_is_that_of_a_softmax_per_column():
    """Outputs are logits relative to the log of the shares, in the order of the levels."""
    likelihood = columns(*SIZES)
    outputs, x = noise(len(all_rows(*SIZES)), likelihood.n_outputs), all_rows(*SIZES)
    logits = split(
        likelihood, outputs + torch.log(likelihood.levels.flat([shares_of(k, j) for j, k in enumerate(SIZES)]))
    )
    log_probs = [log_softmax(logit.astype(float), -1) for logit in logits]
    cells = np.stack([lp[np.arange(len(x)), x[:, j].long()] for j, lp in enumerate(log_probs)], -1)
    p, observed = likelihood(outputs, NO_SHARED), torch.rand(x.shape, generator=generator(1)) < 0.6
    np.testing.assert_allclose(p.log_prob(x), cells.sum(-1), rtol=1e-5, atol=1e-5)
    masked = likelihood(outputs, NO_SHARED, observed).log_prob(x)
    np.testing.assert_allclose(masked, np.where(observed, cells, 0).sum(-1), rtol=1e-5, atol=1e-5)
    for probs, log_prob in zip(split(likelihood, p.mean_parameters), log_probs, strict=True):
        np.testing.assert_allclose(probs, np.exp(log_prob), rtol=1e-4)
    modes = np.stack([lp.argmax(-1) for lp in log_probs], -1)
    assert np.array_equal(p.mean.numpy(), modes)


@pytest.mark.parametrize("scale", [1, 30])
def test_the_probabilities_of_all_rows_sum_to_one(scale):
    likelihood = columns(*SIZES)
    outputs = scale * noise(1, likelihood.n_outputs).clamp(-1, 1)
    total = likelihood(outputs, NO_SHARED).log_prob(all_rows(*SIZES)).double().exp().sum()
    assert float(total) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("size", [3, MAX_ONE_HOT, MAX_ONE_HOT + 1, 400])
def test_outputs_of_zero_give_the_shares(size):
    likelihood = columns(size)
    probs = likelihood(torch.zeros(1, likelihood.n_outputs), NO_SHARED).mean_parameters
    np.testing.assert_allclose(probs[0].detach().numpy(), shares_of(size), rtol=1e-5)


def test_a_column_of_many_levels_has_an_embedding():
    """Its logits are outputs times the embedding; outputs e = ceil(sqrt(K)) up to 16; features are the code's entry."""
    likelihood = columns(3, 50, 1000)
    assert likelihood.output_sizes == [3, 8, 16] and likelihood.n_features == 3 + 8 + 16
    assert likelihood.column_of_feature == [0] * 3 + [1] * 8 + [2] * 16
    outputs = noise(6, likelihood.n_outputs)
    x = torch.tensor([[0.0, 49.0, 999.0], [2.0, 0.0, 500.0]] * 3)
    table, large_table = likelihood.tables
    logits = outputs[:, 3:11].numpy() @ table.detach().numpy().T + np.log(shares_of(50, 1))
    p = likelihood(outputs, NO_SHARED, torch.tensor([[False, True, False]] * 6))
    expected = log_softmax(logits, -1)[np.arange(6), x[:, 1].long()]
    np.testing.assert_allclose(p.log_prob(x).detach().numpy(), expected, rtol=1e-5)
    features = likelihood.features(x)
    assert torch.equal(features[:, 3:11], table[x[:, 1].long()])
    assert torch.equal(features[:, 11:], large_table[x[:, 2].long()])
    np.testing.assert_allclose(table.detach().square().sum(1).mean(), 1, rtol=0.1)


def test_features_are_one_hot_and_values():
    """Fixed features are one-hot for columns of many levels, too, but only the value for columns of numbers."""
    values = {1: [-0.5, 2.0], 3: np.linspace(-2, 2, 40).tolist()}
    likelihood = columns(3, 2, 2, 40, values=values.items())
    x = torch.tensor([[2.0, 1.0, 0.0, 7.0], [0.0, 0.0, 1.0, 39.0]])
    fixed, owners = likelihood.fixed_features(x), torch.tensor(likelihood.column_of_fixed_feature)
    assert likelihood.n_fixed_features == 3 + 1 + 2 + 1
    for j, k in enumerate([3, 2, 2, 40]):
        one_hot = torch.nn.functional.one_hot(x[:, j].long(), k).float()
        value = torch.tensor(values[j])[x[:, j].long()][:, None] if j in values else None
        torch.testing.assert_close(fixed[:, owners == j], one_hot if value is None else value)
        if k < 40:
            read = likelihood.features(x)[:, torch.tensor(likelihood.column_of_feature) == j]
            torch.testing.assert_close(read, one_hot if value is None else torch.cat([one_hot, value], 1))


def test_a_mixture_has_the_mean_of_the_probabilities():
    """The center of averaged probabilities is the mode of the mixture, which need not be a mode of a component."""
    likelihood = LIKELIHOODS["categorical"](1, [{"shares": [1 / 3] * 3, "values": None}])
    p = likelihood(torch.tensor([[0.4, 0.35, 0.25], [0.0, 0.45, 0.55]]).log().clamp(min=-30), NO_SHARED)
    assert p.mean.tolist() == [[0.0], [2.0]]
    mixed = p.mean_parameters.mean(0)
    np.testing.assert_allclose(mixed, [0.2, 0.4, 0.4], atol=1e-6)
    assert p.center(torch.tensor([0.2, 0.41, 0.39])).tolist() == [1.0]


@pytest.mark.parametrize("rng", [generator(), RowNoise(0, torch.arange(20_000.0)[:, None])], ids=["generator", "rows"])
def test_draws_have_their_probabilities(rng):
    """Chi-squared over the joint codes of independent columns."""
    likelihood = columns(4, 2, 3)
    p = likelihood(noise(1, likelihood.n_outputs).expand(20_000, -1), NO_SHARED)
    x = p.rsample(rng)
    rows = all_rows(4, 2, 3)
    counts = [(x == row).all(1).sum().item() for row in rows]
    expected = likelihood(noise(1, likelihood.n_outputs), NO_SHARED).log_prob(rows).double().exp().numpy()
    assert scipy.stats.chisquare(counts, 20_000 * expected / expected.sum()).pvalue > 0.001


def test_inversion_gives_every_code_its_interval():
    """The limits belong to the upper code; a code of probability 0 is never drawn, whatever the rounding of the sum."""
    probs = torch.tensor([0.0, 0.25, 0.0, 0.5, 0.25, 0.0])
    u = torch.tensor([0.0, 0.2499, 0.25, 0.7499, 0.75, 1 - 2.0**-24])
    assert invert(probs.expand(6, 6), u).tolist() == [1, 1, 3, 3, 4, 4]
    short = torch.tensor([0.3, 0.3, 0.3, 0.0])
    assert invert(short, torch.tensor(1 - 2.0**-24)).tolist() == 2


def test_the_center_of_numbers_is_their_median():
    """And of labels the mode; also for a mixture, and with columns in another order than their levels."""
    likelihood = columns(4, 3, values=[(0, [-1.0, 0.0, 1.0, 3.0])])
    p_x = likelihood(torch.zeros(2, likelihood.n_outputs), torch.zeros(0))
    numbers, labels = [[0.3, 0.25, 0.0, 0.45], [0.6, 0.3, 0.1, 0.0]], [[0.2, 0.3, 0.5], [0.9, 0.0, 0.1]]
    probabilities = torch.cat([torch.tensor(labels), torch.tensor(numbers)], 1)  # few levels first
    assert p_x.center(probabilities).tolist() == [[1.0, 2.0], [0.0, 0.0]]
