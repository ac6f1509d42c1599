"""Tests of annealing: neither fits nor label switches raise the objective."""

from itertools import pairwise

import numpy as np
import pytest
from sklearn.datasets import make_blobs

from skdgm.svm.annealing import FIRST_STAGE, Annealing
from skdgm.svm.solvers import make_solver
from skdgm.svm.switching import label_costs, switch_labels, targets_of

SHARES = np.full(3, 1 / 3)


def blobs():
    return make_blobs([60] * 3, centers=[(-1, 0), (1, 0), (0, 1.5)], cluster_std=0.7, random_state=0)


def make(X, n_labeled, n_components):
    kernel = {"C": 10.0, "kernel": "rbf", "gamma": 0.3, "n_components": n_components}
    return make_solver(X, np.arange(len(X)), n_labeled, random_state=np.random.RandomState(0), **kernel)


@pytest.mark.parametrize("n_components", [10_000, 60], ids=["exact", "primal"])
def test_neither_half_of_a_sweep_raises_the_objective(n_components):
    X, y = blobs()
    labeled, labels = y[:12], np.random.default_rng(0).permutation(y[12:])
    solver, guess = make(X, 12, n_components), labels.copy()
    solution = solver.solve(targets_of(labeled, 3), 1.0)
    values = []
    for _ in range(4):
        values.append(solver.objective(solution, targets_of(np.r_[labeled, guess], 3), 1.0))
        switch_labels(label_costs(solution.decision[12:], solver.width), guess)
        targets = targets_of(np.r_[labeled, guess], 3)
        values.append(solver.objective(solution, targets, 1.0))
        solution = solver.solve(targets, 1.0)
    assert all(after <= before * (1 + 1e-4) for before, after in pairwise(values))
    assert values[-1] < values[0]


def test_stages_rise_to_the_last_cost_and_each_ends_after_max_iter_fits():
    X, y = blobs()
    annealing = Annealing(make(X, 12, 60), y[:12], SHARES, estimates_shares=False, max_iter=2, tol=0.0)
    assert not len(annealing.labels)
    costs = annealing.run(C_unlabeled=4.0, n_stages=3).history["C_unlabeled"]
    np.testing.assert_allclose(np.unique(costs), 4.0 * np.array([FIRST_STAGE, FIRST_STAGE**0.5, 1.0]))
    assert costs == sorted(costs)
    assert np.unique(costs, return_counts=True)[1].max() <= 2


@pytest.mark.parametrize("estimates_shares", [True, False])
def test_labels_have_the_shares_given_or_estimated(estimates_shares):
    X, y = blobs()
    annealing = Annealing(make(X, 12, 60), y[:12], SHARES, estimates_shares=estimates_shares, max_iter=5, tol=0.0)
    annealing.run(C_unlabeled=1.0, n_stages=3)
    assert (annealing.shares == SHARES).all() == (not estimates_shares)
    assert (np.abs(np.bincount(annealing.labels) - annealing.shares * 168) < 1).all()
