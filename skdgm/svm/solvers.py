"""Solvers of SVMs with given labels and a cost per row: exact by scikit-learn's SVC, or primal on explicit features.

A solver holds the training rows, labeled ones first. It is made once and then fits one set of labels after another.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from sklearn.base import clone
from sklearn.kernel_approximation import Nystroem
from sklearn.svm import SVC
from sklearn.utils import gen_batches

from skdgm.svm.hinge import hinge, hinge_slope

Floats = NDArray[np.floating]
Ints = NDArray[np.int64]

HINGE_WIDTH = 0.2  # half-width of the parabola that rounds the hinge in the primal
MAX_SOLVER_ITER, SOLVER_TOL = 300, 1e-4
# A second or so. Scaled columns take thousands; columns of thousands and a linear kernel may never end, nor does Ctrl-C
# end them. scikit-learn warns if this many do not suffice.
MAX_SVC_ITER = 1_000_000
BLOCK = 4096  # rows of features that fit into a processor's cache


class DecisionFunctions(Protocol):
    """Fitted SVMs: one for two classes, else one for each class against the rest."""

    @property
    def n_svms(self) -> int:
        """Number of SVMs."""

    def decision_function(self, X: Floats) -> Floats:
        """Values of shape (n, 1) or (n, n_classes)."""

    def shifted(self, offset: Floats) -> Self:
        """The same, with an offset added to the values of each SVM."""


@dataclass(frozen=True)
class Solution:
    """Fitted SVMs, their values on all training rows, and the penalty: half the sum of squared norms."""

    svms: DecisionFunctions
    decision: Floats
    penalty: float


class Solver(ABC):
    """Training rows, the labeled ones first, and how to fit SVMs to them."""

    width = 0.0  # of the hinge's rounded corner

    def __init__(self, n_labeled: int, C: float):
        self.n_labeled, self.C = n_labeled, C

    @abstractmethod
    def solve(self, targets: Floats, C_unlabeled: float) -> Solution:
        """Fit to the first ``len(targets)`` rows."""

    def objective(self, solution: Solution, targets: Floats, C_unlabeled: float) -> float:
        """Penalty plus weighted losses, which the solver minimizes."""
        losses = hinge(targets * solution.decision[: len(targets)], self.width).sum(1, dtype=np.float64)
        return solution.penalty + float(self._costs(len(targets), C_unlabeled) @ losses)

    def _costs(self, n: int, C_unlabeled: float) -> Floats:
        return np.where(np.arange(n) < self.n_labeled, self.C, C_unlabeled)


def make_solver(
    X: Floats,
    indices: Ints,
    n_labeled: int,
    *,
    C: float,
    kernel: str,
    gamma: float,
    n_components: int,
    random_state: np.random.RandomState,
) -> Solver:
    """Make a solver for the rows of X at ``indices``: exact up to ``n_components`` rows, else on that many features.

    With a linear kernel, the columns of X are the features, unless X has more than ``n_components`` of them.
    """
    if len(indices) <= n_components:
        # Nothing depends on the seed, but without one SVC would advance NumPy's global generator.
        svc = SVC(C=C, kernel=kernel, gamma=gamma, max_iter=MAX_SVC_ITER, random_state=0)
        return ExactSolver(X[indices], n_labeled, C, svc)
    features: Nystroem | None = None
    if kernel == "rbf" or X.shape[1] > n_components:
        coefficient = gamma if kernel == "rbf" else None
        features = Nystroem(kernel, gamma=coefficient, n_components=n_components, random_state=random_state)
        features.fit(X[indices])
    return PrimalSolver(X, indices, n_labeled, C, features)


# --- exact ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class KernelSVMs:
    """One SVC per column of the targets, and what is added to its values."""

    svcs: list[SVC]
    offset: Floats | float = 0.0

    @property
    def n_svms(self) -> int:
        """Number of SVMs."""
        return len(self.svcs)

    def decision_function(self, X: Floats) -> Floats:
        """Values of shape (n, n_columns)."""
        if not len(X):
            return np.empty((0, len(self.svcs)))
        return np.column_stack([svc.decision_function(X) for svc in self.svcs]) + self.offset

    def shifted(self, offset: Floats) -> Self:
        """The same, with an offset added to the values of each SVM."""
        return replace(self, offset=self.offset + offset)


class ExactSolver(Solver):
    """Exact solutions by scikit-learn's SVC with sample weights."""

    def __init__(self, X: Floats, n_labeled: int, C: float, svc: SVC):
        super().__init__(n_labeled, C)
        self.X, self.svc = X, svc

    def solve(self, targets: Floats, C_unlabeled: float) -> Solution:
        """Fit one SVC per column of targets."""
        weight = self._costs(len(targets), C_unlabeled) / self.C
        svms = KernelSVMs([self._fit_one(column, weight) for column in targets.T])
        decision = svms.decision_function(self.X)
        # |w|^2 is the sum over support vectors of dual_coef * w'x, and w'x the decision minus the intercept.
        squared_norms = [
            svc.dual_coef_[0] @ (values[svc.support_] - svc.intercept_[0])
            for svc, values in zip(svms.svcs, decision.T, strict=True)
        ]
        return Solution(svms, decision, float(sum(squared_norms)) / 2)

    def _fit_one(self, column: Floats, weight: Floats) -> SVC:
        return clone(self.svc).fit(self.X[: len(column)], column > 0, sample_weight=weight)


# --- primal ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LinearSVMs:
    """Linear functions of features of the rows; the last row of ``coef`` is the intercept."""

    features: Nystroem | None
    coef: Floats

    @property
    def n_svms(self) -> int:
        """Number of SVMs."""
        return self.coef.shape[1]

    def decision_function(self, X: Floats) -> Floats:
        """Values of shape (n, n_columns)."""
        values = np.empty((len(X), self.coef.shape[1]))
        for block, features in blocks_of_features(self.features, X, np.arange(len(X))):
            values[block] = features @ self.coef[:-1] + self.coef[-1]
        return values

    def shifted(self, offset: Floats) -> Self:
        """The same, with an offset added to the values of each SVM."""
        return replace(self, coef=np.vstack([self.coef[:-1], self.coef[-1] + offset]))


class PrimalSolver(Solver):
    """Solves for all columns at once on explicit features, by a Newton method with an upper bound on the Hessian.

    The slope of the rounded hinge changes by at most 1 / (2 width), so the objective's Hessian is at most
    I + sum_i cost_i phi_i phi_i' / (2 width): one matrix for all columns and all targets, factored once for each
    C_unlabeled. Each step minimizes a parabola above the objective. Nesterov's momentum, restarted whenever it leads
    uphill, accelerates this.
    """

    width = HINGE_WIDTH

    def __init__(self, X: Floats, indices: Ints, n_labeled: int, C: float, features: Nystroem | None):
        super().__init__(n_labeled, C)
        n_columns = (X.shape[1] if features is None else features.n_components) + 1
        self.features = features
        # Features of the RBF kernel are at most 1, so float32 is enough; columns may have any scale.
        is_bounded = features is not None and features.kernel == "rbf"
        self.phi = np.ones((len(indices), n_columns), dtype=np.float32 if is_bounded else np.float64)
        for block, values in blocks_of_features(features, X, indices):
            self.phi[block, :-1] = values
        self.gram = [gram(self.phi[:n_labeled]), gram(self.phi[n_labeled:])]
        self._factored: tuple[Any, Any] = (None, None)
        self._last: Floats | None = None

    def solve(self, targets: Floats, C_unlabeled: float) -> Solution:
        """Descend from the coefficients of the last call; the first call starts from 0."""
        start = np.zeros((self.phi.shape[1], targets.shape[1])) if self._last is None else self._last
        self._last = coef = self._descend(start, targets, C_unlabeled)
        decision = np.concatenate([self.phi[block] @ self._like_phi(coef) for block in self._blocks(len(self.phi))])
        return Solution(LinearSVMs(self.features, coef), decision, float((coef[:-1] ** 2).sum()) / 2)

    def _descend(self, coef: Floats, targets: Floats, C_unlabeled: float) -> Floats:
        factor = self._factor(C_unlabeled if len(targets) > self.n_labeled else 0.0)
        costs = self._costs(len(targets), C_unlabeled)
        ahead, momentum = coef, 1.0
        for _ in range(MAX_SOLVER_ITER):
            gradient = self._gradient(ahead, targets, costs)
            step = cho_solve(factor, gradient)
            following = ahead - step
            if (step * gradient).sum() <= SOLVER_TOL * (coef[:-1] ** 2).sum() / 2:
                return following
            momentum = 1.0 if (gradient * (following - coef)).sum() > 0 else momentum
            next_momentum = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
            ahead = following + (momentum - 1) / next_momentum * (following - coef)
            coef, momentum = following, next_momentum
        return coef

    def _gradient(self, coef: Floats, targets: Floats, costs: Floats) -> Floats:
        gradient = np.vstack([coef[:-1], np.zeros((1, coef.shape[1]))])
        weighted = (costs[:, None] * targets).astype(self.phi.dtype)
        small = self._like_phi(coef)
        for block in self._blocks(len(targets)):
            phi = self.phi[block]
            gradient -= phi.T @ (weighted[block] * hinge_slope(targets[block] * (phi @ small), self.width))
        return gradient

    def _factor(self, C_unlabeled: float) -> Any:
        """Cholesky factor of the bound on the Hessian; the last one is kept."""
        if self._factored[0] != C_unlabeled:
            bound = (self.C * self.gram[0] + C_unlabeled * self.gram[1]) / (2 * self.width)
            bound[np.diag_indices(len(bound) - 1)] += 1  # the intercept is not penalized
            self._factored = (C_unlabeled, factored(bound, 100 * float(np.finfo(self.phi.dtype).eps)))
        return self._factored[1]

    def _like_phi(self, coef: Floats) -> Floats:
        return coef.astype(self.phi.dtype)

    def _blocks(self, n: int) -> Iterator[slice]:
        return gen_batches(n, BLOCK)


def factored(bound: Floats, rounding: float) -> Any:
    """Cholesky factor of a bound on the Hessian, whose relative error is about ``rounding``.

    If that has left the matrix indefinite, it is the factor of a slightly larger matrix, which is a bound, too.
    """
    while True:
        try:
            return cho_factor(bound, lower=True)
        except np.linalg.LinAlgError:
            bound[np.diag_indices(len(bound))] += rounding * np.trace(bound)
            rounding *= 10


def gram(phi: Floats) -> Floats:
    """phi' phi, summed in float64; shape (n_columns, n_columns)."""
    total = np.zeros((phi.shape[1], phi.shape[1]))
    for block in gen_batches(len(phi), BLOCK):
        total += phi[block].T @ phi[block]
    return total


def blocks_of_features(features: Nystroem | None, X: Floats, indices: Ints) -> Iterator[tuple[slice, Floats]]:
    """Yield slices of ``indices``, and the features of the rows of X at each."""
    for block in gen_batches(len(indices), BLOCK):
        rows = X[indices[block]]
        yield block, rows if features is None else features.transform(rows)
