"""Tests of tables whose columns have several likelihoods: densities, order of features, missing cells, state."""

import numpy as np
import pytest
import torch

from skdgm.likelihoods import LIKELIHOODS
from skdgm.likelihoods.columns import ColumnGroup, MixedLikelihood

CODES = [
    {"shares": [0.2, 0.5, 0.3], "values": [-1.0, 0.0, 1.0]},
    {"shares": np.full(50, 0.02).tolist(), "values": None},
]
AMOUNTS = [{"spread": 0.5, "positive_share": 0.3}] * 2
GROUPS = [
    ColumnGroup("zero_inflated_lognormal", [5, 1], AMOUNTS),
    ColumnGroup("student_t", [3]),
    ColumnGroup("categorical", [6, 0], CODES),
    ColumnGroup("gaussian", [2, 4]),
]
N_COLUMNS, N_ROWS = 7, 12


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def noise(*shape, seed=0):
    return torch.randn(shape, generator=generator(seed))


def outputs_and_shared(mixed):
    return noise(N_ROWS, sum(mixed.n_outputs), seed=1), 0.3 * noise(sum(mixed.n_shared), seed=2)


@pytest.fixture
def mixed():
    return MixedLikelihood(GROUPS, N_COLUMNS)


@pytest.fixture
def x(mixed):
    return mixed(*outputs_and_shared(mixed)).rsample(generator(3)).detach()


def test_a_table_has_the_sum_of_its_groups_densities(mixed, x):
    """Each group by itself, with its outputs, variances and columns, with and without a mask."""
    outputs, shared = outputs_and_shared(mixed)
    for observed in (None, torch.rand(N_ROWS, N_COLUMNS, generator=generator(4)) < 0.6):
        expected, first_output, first_shared = torch.zeros(N_ROWS), 0, 0
        for group, likelihood in zip(GROUPS, mixed.parts, strict=True):
            last, last_shared = first_output + likelihood.n_outputs, first_shared + likelihood.n_shared
            mask = None if observed is None else observed[:, group.columns]
            p = likelihood(outputs[:, first_output:last], shared[first_shared:last_shared], mask)
            expected = expected + p.log_prob(x[:, group.columns])
            first_output, first_shared = last, last_shared
        torch.testing.assert_close(mixed(outputs, shared, observed).log_prob(x), expected)


def test_the_center_of_the_mean_parameters_is_the_mean_in_the_order_of_the_table(mixed):
    p = mixed(*outputs_and_shared(mixed))
    torch.testing.assert_close(p.center(p.mean_parameters), p.mean)
    assert set(p.mean[:, 6].tolist()) <= {0.0, 1.0, 2.0}
    first_gaussian = sum(mixed.n_outputs[:3])
    assert torch.equal(p.mean[:, [2, 4]], outputs_and_shared(mixed)[0][:, first_gaussian:])


@pytest.mark.parametrize("kind", ["features", "fixed_features"])
def test_features_stand_in_the_order_of_the_columns(mixed, x, kind):
    """All features of column 0, then those of column 1, ..., each as the likelihood of its group gives it."""
    owners = mixed.column_of_feature if kind == "features" else mixed.column_of_fixed_feature
    features = getattr(mixed, kind)(x)
    n_features = mixed.n_features if kind == "features" else mixed.n_fixed_features
    assert owners.tolist() == sorted(owners.tolist()) and features.shape == (N_ROWS, n_features)
    for group, likelihood in zip(GROUPS, mixed.parts, strict=True):
        part = getattr(likelihood, kind)(x[:, group.columns])
        local = likelihood.column_of_feature if kind == "features" else likelihood.column_of_fixed_feature
        for j, column in enumerate(group.columns):
            assert torch.equal(features[:, owners == column], part[:, torch.tensor(local) == j])


@pytest.mark.parametrize("kind", ["features", "fixed_features"])
def test_missing_cells_have_features_of_zero(mixed, x, kind):
    """Whatever they hold; the others are as without missing cells."""
    observed = torch.rand(N_ROWS, N_COLUMNS, generator=generator(4)) < 0.6
    owners = mixed.column_of_feature if kind == "features" else mixed.column_of_fixed_feature
    features = getattr(mixed, kind)(torch.where(observed, x, torch.nan), observed)
    expected = torch.where(observed[:, owners], getattr(mixed, kind)(x), 0.0)
    assert torch.equal(features, expected)


@pytest.mark.parametrize("columns", [[0, 1], [1, 0]])
def test_features_of_one_likelihood_are_in_order_too(columns):
    """A column's value stands behind its one-hot code, not behind those of all columns."""
    codes = [{"shares": [0.5, 0.5], "values": [-1.0, 1.0]}, {"shares": [0.2, 0.3, 0.5], "values": [-2.0, 0.0, 1.0]}]
    mixed = MixedLikelihood([ColumnGroup("categorical", columns, [codes[column] for column in columns])], 2)
    assert mixed.column_of_feature.tolist() == [0, 0, 0, 1, 1, 1, 1]
    assert mixed.features(torch.tensor([[1.0, 0.0]])).tolist() == [[0.0, 1.0, 1.0, 1.0, 0.0, 0.0, -2.0]]
    observed = torch.tensor([[False, True]])
    assert mixed.features(torch.tensor([[1.0, 0.0]]), observed).tolist() == [[0.0, 0.0, 0.0, 1.0, 0.0, 0.0, -2.0]]


def test_the_state_names_every_parameter_once(mixed):
    """And a new likelihood of the same groups takes it over."""
    assert len(mixed.state_dict()) == len(list(mixed.parameters())) == 2
    alone = MixedLikelihood("student_t", 3)
    assert list(alone.state_dict()) == ["likelihoods.0.log_dof"]
    assert isinstance(
        alone(torch.zeros(2, 3), torch.zeros(3)), type(LIKELIHOODS["student_t"](3)(*[torch.zeros(3)] * 2))
    )
    other = MixedLikelihood(GROUPS, N_COLUMNS)
    with torch.no_grad():
        for parameter in mixed.parameters():
            parameter += 1
    other.load_state_dict(mixed.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(other.parameters(), mixed.parameters(), strict=True))


def test_gradients_reach_all_parameters_past_missing_cells(mixed, x):
    """What stands in missing cells leaves no trace in the gradients."""
    outputs, shared = (tensor.requires_grad_() for tensor in outputs_and_shared(mixed))
    observed = torch.rand(N_ROWS, N_COLUMNS, generator=generator(4)) < 0.6
    mixed(outputs, shared, observed).log_prob(torch.where(observed, x, torch.nan)).sum().backward()
    for tensor in (outputs, shared, *mixed.parameters()):
        assert tensor.grad.isfinite().all() and tensor.grad.any()
