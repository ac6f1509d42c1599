"""Tests of label switching against the Hungarian method, and of what it must keep."""

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from skdgm.svm.hinge import hinge
from skdgm.svm.switching import label_costs, labels_under_shares, predicted_labels, switch_labels, targets_of


def _exact_assignment(costs, counts):
    """The cheapest labels with these counts, by the Hungarian method."""
    labels = np.repeat(np.arange(costs.shape[1]), counts)
    rows, columns = linear_sum_assignment(costs[:, labels])
    return labels[columns], costs[rows, labels[columns]].sum()


def test_switching_two_classes_is_the_cheapest_assignment():
    costs = label_costs(np.random.default_rng(0).normal(size=(101, 1)), 0.2)
    labels = np.repeat([0, 1], [60, 41])
    switch_labels(costs, labels)
    assert np.bincount(labels).tolist() == [60, 41]
    assert costs[np.arange(101), labels].sum() == pytest.approx(_exact_assignment(costs, [60, 41])[1])


def test_switching_two_classes_takes_the_top_fraction_by_margin():
    decision = np.random.default_rng(0).uniform(-0.9, 0.9, size=(50, 1))  # inside the margin no two losses are equal
    labels = np.repeat([0, 1], [30, 20])
    switch_labels(label_costs(decision, 0.0), labels)
    assert set(np.flatnonzero(labels)) == set(np.argsort(decision[:, 0])[-20:])


def test_switching_many_classes_lowers_the_costs_keeps_the_counts_and_ends_where_no_pair_gains():
    costs = np.random.default_rng(0).normal(size=(120, 5))
    counts = [10, 20, 30, 0, 60]
    labels = np.repeat(np.arange(5), counts)
    before = costs[np.arange(120), labels].sum()
    n_switched = switch_labels(costs, labels)
    after = costs[np.arange(120), labels].sum()
    assert np.bincount(labels, minlength=5).tolist() == counts
    assert n_switched == (labels != np.repeat(np.arange(5), counts)).sum()
    best = _exact_assignment(costs, counts)[1]
    assert best - 1e-9 <= after < before
    assert after - best < 0.05 * (before - best)
    swapped = costs[:, labels]  # [i, j]: cost of row i with the label of row j
    own = np.diag(swapped)
    assert (swapped + swapped.T >= own[:, None] + own[None, :] - 1e-8).all()
    assert switch_labels(costs, labels) == 0


@pytest.mark.parametrize("n_classes", [2, 3])
def test_label_costs_are_the_losses_of_the_targets_up_to_a_constant_per_row(n_classes):
    decision = np.random.default_rng(0).normal(size=(20, 1 if n_classes == 2 else n_classes))
    given = [targets_of(np.full(20, k), n_classes) for k in range(n_classes)]
    losses = np.column_stack([hinge(targets * decision, 0.2).sum(1) for targets in given])
    costs = label_costs(decision, 0.2)
    np.testing.assert_allclose(costs - costs[:, :1], losses - losses[:, :1], atol=1e-12)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_predicted_labels_are_those_of_the_targets(n_classes):
    labels = np.arange(n_classes)
    np.testing.assert_array_equal(predicted_labels(targets_of(labels, n_classes)), labels)


def test_labels_under_shares_have_the_shares_whatever_the_decision_values_say():
    decision = np.random.default_rng(0).normal(size=(100, 3)) + [5, 0, 0]
    labels = labels_under_shares(decision, np.array([0.2, 0.5, 0.3]), 0.0)
    assert np.bincount(labels).tolist() == [20, 50, 30]
