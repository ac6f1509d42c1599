"""The main loop of Joachims' transductive SVM: raise the cost of unlabeled rows in stages, fit and switch labels."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from skdgm.svm.shares import estimate_shares, limit_drift
from skdgm.svm.solvers import DecisionFunctions, Solver
from skdgm.svm.switching import cuts, label_costs, labels_under_shares, predicted_labels, switch_labels, targets_of

Floats = NDArray[np.floating]
Ints = NDArray[np.int64]

FIRST_STAGE = 1e-3  # first value of C_unlabeled, as a fraction of its last value
MAX_BEYOND_MARGIN = 0.1  # share of a class's rows beyond its margin, below which the class lies within it


class Annealing:
    """SVMs fitted to the labeled rows, then to all rows, in stages with a rising cost of unlabeled rows.

    Parameters
    ----------
    solver : Solver
        Holds the rows, the labeled ones first.
    labeled : ndarray of shape (n_labeled,)
        Class indices of the labeled rows.
    shares : ndarray of shape (n_classes,)
        Share of each class among the unlabeled rows.
    estimates_shares : bool
        Whether to estimate the shares again at each stage, from the predictions of the previous stage.
    max_iter : int
        Largest number of fits in a stage.
    tol : float
        A stage ends when at most this share of the unlabeled rows has changed labels.

    Attributes
    ----------
    solution : Solution
        The last fit.
    labels : ndarray of shape (n_unlabeled,)
        Class indices of the unlabeled rows; empty before ``run``.
    shares : ndarray of shape (n_classes,)
        As given, or as last estimated.
    history : dict of list
        "C_unlabeled", "objective" and "n_switched" of every fit to all rows.
    """

    def __init__(
        self, solver: Solver, labeled: Ints, shares: Floats, *, estimates_shares: bool, max_iter: int, tol: float
    ):
        self.solver, self.labeled, self.shares = solver, labeled, shares
        self.estimates_shares, self.max_iter, self.tol = estimates_shares, max_iter, tol
        self.solution = solver.solve(self._targets(labeled), C_unlabeled=0.0)
        self.labels = np.empty(0, dtype=np.int64)
        self.history: dict[str, list[Any]] = {"C_unlabeled": [], "objective": [], "n_switched": []}
        self._first_estimate: Floats | None = None

    def run(self, C_unlabeled: float, n_stages: int) -> Self:
        """Fit to all rows in ``n_stages`` stages, with ``C_unlabeled`` in the last one."""
        for cost in np.geomspace(C_unlabeled, C_unlabeled * FIRST_STAGE, n_stages)[::-1]:
            self._begin_stage()
            self._settle(cost)
        return self

    def _begin_stage(self) -> None:
        """Estimate the shares and assign labels by them; fixed shares assign labels only once."""
        if self.estimates_shares:
            estimate = estimate_shares(self.labeled, predicted_labels(self._decision), len(self.shares))
            self._first_estimate = estimate if self._first_estimate is None else self._first_estimate
            self.shares = limit_drift(self._first_estimate, estimate, len(self.labeled))
        if self.estimates_shares or not len(self.labels):
            self.labels = labels_under_shares(self._decision, self.shares, self.solver.width)

    def _settle(self, C_unlabeled: float) -> None:
        """Fit and switch labels until (almost) none changes. The objective never rises."""
        for _ in range(self.max_iter):
            targets = self._targets(np.concatenate([self.labeled, self.labels]))
            before = self.solver.objective(self.solution, targets, C_unlabeled)
            fitted = self.solver.solve(targets, C_unlabeled)
            after = self.solver.objective(fitted, targets, C_unlabeled)
            if not after <= before:  # as good as the solver's precision allows
                break
            self.solution = fitted
            n_switched = switch_labels(label_costs(self._decision, self.solver.width), self.labels)
            for name, value in (("C_unlabeled", C_unlabeled), ("objective", after), ("n_switched", n_switched)):
                self.history[name].append(value)
            if n_switched <= self.tol * len(self.labels):
                break

    def svms(self) -> DecisionFunctions:
        """The fitted SVMs; with other intercepts if a class lies within its margin, and mostly on the wrong side.

        Under a small cost or gamma, nearly all rows lie within the margins. The objective is then linear in an
        intercept, and its minimum can have all rows on one side. Each SVM instead gets as many rows as its class has.
        """
        decision, n_classes = self._decision, len(self.shares)
        own = np.hstack([-decision, decision]) if n_classes == 2 else decision
        is_beyond = np.take_along_axis(own, self.labels[:, None], 1)[:, 0] >= 1
        n_rows, n_kept, n_beyond = (
            np.bincount(self.labels[part], minlength=n_classes)
            for part in (slice(None), self.labels == predicted_labels(decision), is_beyond)
        )
        is_lost = (n_kept < n_rows / 2) & (n_beyond < MAX_BEYOND_MARGIN * n_rows)
        return self.solution.svms.shifted(-cuts(decision, n_rows)) if is_lost.any() else self.solution.svms

    @property
    def _decision(self) -> Floats:
        """Decision values of the unlabeled rows."""
        return self.solution.decision[len(self.labeled) :]

    def _targets(self, labels: Ints) -> Floats:
        return targets_of(labels, len(self.shares))
