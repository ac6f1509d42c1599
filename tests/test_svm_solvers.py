"""Tests of the two solvers against the dual, against finite differences, and against each other."""

import numpy as np
import pytest
from scipy.optimize import check_grad
from sklearn.datasets import make_blobs
from sklearn.kernel_approximation import Nystroem
from sklearn.svm import SVC

from skdgm.svm.hinge import hinge
from skdgm.svm.solvers import ExactSolver, PrimalSolver
from skdgm.svm.switching import targets_of

CENTERS = ((-2, 0), (2, 0), (0, 3))


def blobs(centers=CENTERS, n=60):
    return make_blobs([n] * len(centers), centers=centers, cluster_std=0.7, random_state=0)


def _primal(X, n_labeled, **params):
    features = Nystroem(n_components=len(X), random_state=0, **params).fit(X)
    return PrimalSolver(X, np.arange(len(X)), n_labeled, 10.0, features)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_exact_objective_is_the_one_of_the_dual(n_classes):
    X, y = blobs(CENTERS[:n_classes])
    targets = targets_of(y, n_classes)
    solver = ExactSolver(X, len(X), 10.0, SVC(C=10.0, gamma=0.3, tol=1e-6))
    solution = solver.solve(targets, 1.0)
    dual = 0.0
    for svc in solution.svms.svcs:
        support, alpha = svc.support_vectors_, svc.dual_coef_[0]
        kernel = np.exp(-0.3 * ((support[:, None] - support[None]) ** 2).sum(-1))
        dual += np.abs(alpha).sum() - alpha @ kernel @ alpha / 2
    assert solver.objective(solution, targets, 1.0) == pytest.approx(dual, rel=1e-3)


def test_primal_gradient_is_that_of_the_objective():
    X, y = blobs(n=10)
    solver = PrimalSolver(X, np.arange(30), 12, 10.0, None)  # no features: float64
    targets, costs = targets_of(y, 3), solver._costs(30, 0.5)

    def objective(coef):
        W = coef.reshape(3, 3)
        losses = hinge(targets * (solver.phi @ W), solver.width).sum(1)
        return (W[:-1] ** 2).sum() / 2 + costs @ losses

    coef = np.random.default_rng(0).normal(size=9)
    error = check_grad(objective, lambda c: solver._gradient(c.reshape(3, 3), targets, costs).ravel(), coef)
    assert error < 1e-4


@pytest.mark.parametrize("n_classes", [2, 3])
def test_primal_with_as_many_features_as_rows_is_the_svc_up_to_the_rounding_of_the_hinge(n_classes):
    X, y = blobs(CENTERS[:n_classes])
    targets = targets_of(y, n_classes)
    solver = ExactSolver(X, 8, 10.0, SVC(C=10.0, gamma=0.3, tol=1e-6))
    exact, primal = solver.solve(targets, 1.0), _primal(X, 8, gamma=0.3).solve(targets, 1.0)
    least, reached = (solver.objective(solution, targets, 1.0) for solution in (exact, primal))
    # hinge <= rounded hinge <= hinge + width / 4, so the minimum of one is nearly the minimum of the other.
    rounding = 0.2 / 4 * solver._costs(len(X), 1.0).sum() * targets.shape[1]
    assert least * (1 - 1e-3) <= reached <= least + rounding
    assert (np.sign(primal.decision) == np.sign(exact.decision)).mean() > 0.98


@pytest.mark.parametrize("n_classes", [2, 3])
def test_primal_svm_gives_the_values_it_was_fitted_with(n_classes):
    X, y = blobs(CENTERS[:n_classes])
    solution = _primal(X, 8).solve(targets_of(y, n_classes), 1.0)
    np.testing.assert_allclose(solution.svms.decision_function(X), solution.decision, atol=1e-4)
