"""The transductive support vector machine of M1+TSVM: labels for unlabeled rows that let a wide margin through."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from numbers import Integral, Real
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.kernel_approximation import Nystroem
from sklearn.svm import SVC
from sklearn.utils import check_random_state, gen_batches
from sklearn.utils.validation import check_is_fitted

from skdgm._sklearn_compat import Interval, StrOptions, validate_data
from skdgm.estimators._arrays import like_input
from skdgm.estimators._callbacks import fitting
from skdgm.estimators._classifier import read_labeled, score_labeled

Floats = NDArray[np.floating]
Ints = NDArray[np.int64]

FIRST_STAGE = 1e-3  # where C_unlabeled starts, as a share of its last value
MAX_DRIFT = 0.5  # how far estimated shares may move, in standard errors of the shares of random labels; tuned on tables
HINGE_WIDTH = 0.2  # half-width of the parabola that rounds the hinge off in the primal
MAX_SOLVER_ITER, SOLVER_TOL = 300, 1e-4
BLOCK = 4096  # rows of features that stay in a processor's cache


class TransductiveSVC(ClassifierMixin, BaseEstimator):
    r"""Transductive support vector machine: chooses the labels of the unlabeled rows along with the margin.

    With labeled rows :math:`l`, unlabeled rows :math:`u`, classes :math:`k`, decision functions :math:`f_k` (one versus
    rest) and targets :math:`t_{ik} = 1` where row `i` has label `k`, else -1, it lowers

    .. math::

        \tfrac{1}{2} \sum_k \|w_k\|^2 + C \sum_{i \in l} \sum_k h(t_{ik} f_k(x_i))
        + C^* \sum_{i \in u} \sum_k h(t_{ik} f_k(x_i)), \qquad h(m) = \max(0, 1 - m)

    over the machines *and* over the labels of the unlabeled rows, of which a set share goes to each class [1]_:

    1. An SVM on the labeled rows gives the first labels and, under ``class_ratio="estimated"``, the shares.
    2. For a small :math:`C^*`: fit to all rows; exchange the labels of pairs of rows wherever that lowers the sum of
       losses; repeat until (almost) no label changes. Neither step raises the objective, and an exchange leaves
       the number of rows in each class as it is.
    3. Raise :math:`C^*`, estimate the shares again under ``class_ratio="estimated"``, and repeat, until :math:`C^*` is
       ``C_unlabeled``.

    Exchanges go in batches, as many pairs at once as gain, and between all classes: every unlabeled row has one label,
    in place of one independent guess per machine. With two classes that is the algorithm of [1]_.

    Up to ``n_components`` rows the machines are :class:`~sklearn.svm.SVC`. Beyond, the kernel is approximated by
    ``n_components`` Nystroem features, all classes are solved together in the primal, and the hinge is rounded off
    within 0.2 of its corner [2]_: 50,000 rows in 10 classes take about a minute.

    Parameters
    ----------
    C : float, default=10
        Cost of a labeled row within the margin, positive. As it grows, the labels are obeyed more strictly and the
        boundary bends more.

    C_unlabeled : float, default=1
        Cost of an unlabeled row within the margin once the annealing is over, positive. As it grows, the boundary
        avoids dense regions more strictly and forgets what the labeled rows say; near 0 the machine is the one of the
        labeled rows. Unlabeled rows being many, it is usually below `C`.

    kernel : {"rbf", "linear"}, default="rbf"
        The kernel; "rbf" is :math:`\exp(-\gamma \|x - x'\|^2)`.

    gamma : {"scale", "auto"} or float, default="scale"
        Coefficient of the RBF kernel, positive: "scale" is 1 / (n_features * X.var()) over all rows of X, "auto"
        is 1 / n_features. As it grows, each row's influence narrows and the boundary bends more. Without effect for
        ``kernel="linear"``.

    class_ratio : {"estimated", "labeled", "uniform"} or array-like of shape (n_classes,), default="estimated"
        Share of each class, in the order of ``classes_``, among the unlabeled rows. It holds to within one row. Without
        it all unlabeled rows could fall on one side; where it is far from the truth, rows are forced into wrong
        classes: if the share of a class is off by 0.1, at least a tenth of the unlabeled rows get a wrong label, and
        the boundary moves with them.

        - "estimated": the shares that an SVM on the labeled rows alone predicts, estimated again at each stage from the
          predictions of the stage before (see Notes). Works whether labels were drawn evenly from each class, at
          random, or by hand. If the SVM is far off, so are the shares.
        - "labeled": as among the labeled rows. Choose it for many labels that were drawn at random; the shares of 20
          labels are easily off by 0.1. With labels drawn evenly from each class it treats the classes as equally
          large, and if they are not, many rows get wrong labels. With labels picked by hand it is right only if they
          were picked in proportion to the classes.
        - "uniform": all equal. Choose it if the classes are known to be about equally large, however the labels were
          drawn.
        - array-like: given (non-negative, sum 1). The best choice if the shares are known, however the labels were
          drawn.

    max_unlabeled : int or None, default=50000
        Largest number of unlabeled rows to fit to, at least 1; of more, so many are drawn at random, and the others
        are labeled at the end, under the same `class_ratio` (estimated from the rows drawn). As it grows, results get
        better; time and memory (4 bytes times `n_components` a row) grow in proportion. None uses all.

    n_components : int, default=500
        Number of Nystroem features, and the largest number of rows for which the kernel is exact, at least 1. As it
        grows, the kernel is closer to exact and time grows in proportion. For ``kernel="linear"`` no features are
        needed unless X has more columns than that.

    n_stages : int, default=7
        Number of values of :math:`C^*`, in geometric progression from `C_unlabeled` / 1000 to `C_unlabeled`, at least
        1. As it grows, a bad first guess is mended more gently and time grows; 1 starts with the full weight.

    max_iter : int, default=5
        Largest number of fits for each value of :math:`C^*`, at least 1. Reaching it is a normal end.

    tol : float, default=1e-3
        A stage ends when at most this share of the unlabeled rows has changed labels. 0 waits until none does.

    unlabeled_value : int, float, str or None, default=-1
        Marks unlabeled rows in y; None, NaN and pandas.NA do beside it. None: every row is labeled.

    random_state : int, RandomState instance or None, default=None
        Draws the rows of the Nystroem features and those of `max_unlabeled`. Without effect up to `n_components` rows.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels, sorted; never the marker.
    class_ratio_ : ndarray of shape (n_classes,)
        Share of each class among the unlabeled rows, in the order of ``classes_``, that the fit used; with
        ``class_ratio="estimated"`` that of the last stage.
    transduction_ : ndarray of shape (n_samples,)
        A label for every row of the training data: the labeled rows keep theirs, the others have those they were
        fitted with, so that the shares are those of ``class_ratio_``. ``predict`` on the same rows may differ.
    history_ : dict of list
        "C_unlabeled", "objective" (after the fit) and "n_switched" (rows whose label changed after it) of every fit to
        all rows. The objective never rises while C_unlabeled stays.
    n_iter_ : int
        Number of fits, the first one to the labeled rows included.
    svm_ : object
        The fitted machines; has ``decision_function(X)``.
    n_features_in_, feature_names_in_
        As everywhere in scikit-learn.

    See Also
    --------
    M1Classifier : Takes this as inner estimator on the codes of a VAE (M1+TSVM).
    sklearn.semi_supervised.LabelSpreading : Spreads labels over a graph of neighbors.

    Notes
    -----
    With all rows labeled this is ``OneVsRestClassifier(SVC())`` (approximated beyond `n_components` rows).
    The objective has many local minima; annealing finds a good one, not the best. It pays where classes are clusters
    with sparse regions between them, and can harm where they are not.

    How ``class_ratio="estimated"`` works: the first estimate is the shares that the SVM on the labeled rows predicts,
    pulled toward the labels' shares as if there were `n_classes` more rows with those, which leaves no class that has
    a label without a share. Later estimates follow the boundary as it moves out of the clusters, but only so far:
    within half a standard error, :math:`\sqrt{p (1 - p) / n}` for a share :math:`p` and :math:`n` labels, of the first
    estimate. Where there are no clusters they could otherwise drift until one class has nearly all rows.

    ``cross_val_score`` and ``GridSearchCV`` need ``cv=LabeledStratifiedKFold()`` and
    ``scoring=make_labeled_scorer("accuracy")`` where y holds unlabeled rows.

    References
    ----------
    .. [1] T. Joachims, "Transductive inference for text classification using support vector machines", ICML 1999,
       pp. 200-209.
    .. [2] O. Chapelle, "Training a support vector machine in the primal", Neural Computation 19(5), 2007,
       pp. 1155-1178.
    .. [3] V. Sindhwani, S. S. Keerthi, "Large scale semi-supervised linear SVMs", SIGIR 2006, pp. 477-484 (exchanging
       many pairs at once).
    .. [4] D. P. Kingma, D. J. Rezende, S. Mohamed, M. Welling, "Semi-supervised learning with deep generative models",
       NIPS 2014. arXiv:1406.5298

    Examples
    --------
    Two clouds, one label at the rim of each. The machine of the labeled rows cuts into both; this one goes between:

    >>> import numpy as np
    >>> from sklearn.datasets import make_blobs
    >>> from sklearn.svm import SVC
    >>> from skdgm import TransductiveSVC
    >>> X, y_true = make_blobs([100, 100], centers=[(-2, 0), (2, 0)], cluster_std=0.7, random_state=0)
    >>> labeled = [np.linalg.norm(X - rim, axis=1).argmin() for rim in ((-1.5, 2), (1.5, -2))]
    >>> y = np.full(200, -1)
    >>> y[labeled] = y_true[labeled]
    >>> SVC(C=10).fit(X[labeled], y[labeled]).score(X, y_true)
    0.94
    >>> model = TransductiveSVC().fit(X, y)
    >>> model.score(X, y_true)
    1.0
    >>> np.bincount(model.transduction_)
    array([100, 100])
    """

    _doc_link_module = "skdgm"
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "C": [Interval(Real, 0, None, closed="neither")],
        "C_unlabeled": [Interval(Real, 0, None, closed="neither")],
        "kernel": [StrOptions({"rbf", "linear"})],
        "gamma": [StrOptions({"scale", "auto"}), Interval(Real, 0, None, closed="neither")],
        "class_ratio": [StrOptions({"estimated", "labeled", "uniform"}), "array-like"],
        "max_unlabeled": [Interval(Integral, 1, None, closed="left"), None],
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "n_stages": [Interval(Integral, 1, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, 1, closed="both")],
        "unlabeled_value": [Integral, Real, str, None],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        *,
        C=10.0,
        C_unlabeled=1.0,
        kernel="rbf",
        gamma="scale",
        class_ratio="estimated",
        max_unlabeled=50_000,
        n_components=500,
        n_stages=7,
        max_iter=5,
        tol=1e-3,
        unlabeled_value=-1,
        random_state=None,
    ):
        self.C = C
        self.C_unlabeled = C_unlabeled
        self.kernel = kernel
        self.gamma = gamma
        self.class_ratio = class_ratio
        self.max_unlabeled = max_unlabeled
        self.n_components = n_components
        self.n_stages = n_stages
        self.max_iter = max_iter
        self.tol = tol
        self.unlabeled_value = unlabeled_value
        self.random_state = random_state

    # --- fit ----------------------------------------------------------------------------------------------------

    @fitting
    def fit(self, X, y):
        """Fit to labeled and unlabeled rows.

        Parameters
        ----------
        X : array-like or torch.Tensor of shape (n_samples, n_features)
            Finite values.
        y : array-like of shape (n_samples,)
            Labels: integers, or strings in an object array. ``unlabeled_value``, None and NaN mark unlabeled rows. At
            least two classes need a labeled row; all rows may be labeled.

        Returns
        -------
        self : TransductiveSVC
            The fitted estimator.

        Raises
        ------
        ValueError
            For X that is not finite; for y with labels of fewer than two classes, of a type that cannot hold the
            marker, or with several columns; for a `class_ratio` that does not fit. The estimator is then as it was.
        """
        rows, codes = self._read_labeled(X, y)
        self.class_ratio_ = self._shares(codes)
        random = check_random_state(self.random_state)
        labeled, used, rest = self._places(codes, random)
        trainer = self._trainer(rows, np.concatenate([labeled, used]), len(labeled), random)
        solution, codes[used] = self._anneal(trainer, codes[labeled], len(used))
        self.svm_ = solution.machine
        codes[rest] = self._labels_under_ratio(trainer, self.svm_.decision_function(rows[rest]))
        self.transduction_ = self.classes_[codes]
        return self

    def _read_labeled(self, X: Any, y: Any) -> tuple[Floats, Ints]:
        """Validate X and y; sets ``classes_`` and gives rows and class indices, -1 where unlabeled."""
        rows, codes = read_labeled(self, X, y, dtype=np.float64)
        if len(self.classes_) < 2:
            raise ValueError(
                f"TransductiveSVC needs labels of at least two classes, got the one class {self.classes_.tolist()[0]!r}"
                ". Label at least one row of another class."
            )
        return rows, codes

    def _shares(self, codes: Ints) -> Floats:
        """The parameter ``class_ratio`` as an array in the order of ``classes_``; "estimated" begins as "labeled"."""
        n_classes = len(self.classes_)
        if isinstance(self.class_ratio, str):
            counts = np.ones(n_classes) if self.class_ratio == "uniform" else np.bincount(codes[codes >= 0])
            return counts / counts.sum()
        given = np.asarray(self.class_ratio, dtype=float)
        if given.shape != (n_classes,) or not np.all(given >= 0) or not np.isclose(given.sum(), 1):
            raise ValueError(
                f"class_ratio must hold {n_classes} non-negative shares that sum to 1, one for each of the classes "
                f"{self.classes_.tolist()}, got {self.class_ratio!r}. Use 'estimated' if they are not known."
            )
        return given / given.sum()

    def _places(self, codes: Ints, random: np.random.RandomState) -> tuple[Ints, Ints, Ints]:
        """Places of the labeled rows, of the unlabeled rows to fit to, and of the other ones."""
        unlabeled = np.flatnonzero(codes < 0)
        used = unlabeled
        if self.max_unlabeled is not None and len(unlabeled) > self.max_unlabeled:
            used = np.sort(random.choice(unlabeled, self.max_unlabeled, replace=False))
        return np.flatnonzero(codes >= 0), used, np.setdiff1d(unlabeled, used)

    def _trainer(self, rows: Floats, places: Ints, n_labeled: int, random: np.random.RandomState) -> Trainer:
        kernel = {"kernel": self.kernel, "gamma": self._gamma(rows)}
        if len(places) <= self.n_components:
            return ExactTrainer(rows[places], n_labeled, self.C, SVC(C=self.C, **kernel))
        features: Nystroem | None = None
        if self.kernel == "rbf" or rows.shape[1] > self.n_components:
            kernel["gamma"] = kernel["gamma"] if self.kernel == "rbf" else None
            features = Nystroem(n_components=self.n_components, random_state=random, **kernel).fit(rows[places])
        return PrimalTrainer(rows, places, n_labeled, self.C, features)

    def _gamma(self, rows: Floats) -> float:
        if self.gamma == "auto":
            return 1 / rows.shape[1]
        return 1 / (rows.shape[1] * (rows.var() or 1.0)) if self.gamma == "scale" else float(self.gamma)

    def _anneal(self, trainer: Trainer, codes: Ints, n_unlabeled: int) -> tuple[Solution, Ints]:
        """Fit to the labeled rows, then to all while C* rises; the last machines and labels."""
        n_classes = len(self.classes_)
        self.history_: dict[str, list] = {"C_unlabeled": [], "objective": [], "n_switched": []}
        solution = trainer.solve(targets_of(codes, n_classes), self.C_unlabeled)
        first_shares, labels = None, np.empty(0, dtype=np.int64)
        for C_unlabeled in self._stages() if n_unlabeled else ():
            decision = solution.decision[len(codes) :]
            if self._estimates_shares:
                shares = estimate_shares(codes, chosen(decision), n_classes)
                first_shares = shares if first_shares is None else first_shares
                self.class_ratio_ = limit_drift(first_shares, shares, len(codes))
            if self._estimates_shares or not len(labels):
                labels = self._labels_under_ratio(trainer, decision)
            solution = self._settle(trainer, solution, codes, labels, C_unlabeled)
        self.n_iter_ = 1 + len(self.history_["objective"])
        return solution, labels

    @property
    def _estimates_shares(self) -> bool:
        return isinstance(self.class_ratio, str) and self.class_ratio == "estimated"

    def _stages(self) -> Floats:
        return np.geomspace(self.C_unlabeled, self.C_unlabeled * FIRST_STAGE, self.n_stages)[::-1]

    def _settle(self, trainer: Trainer, solution: Solution, codes: Ints, labels: Ints, C_unlabeled: float) -> Solution:
        """Fit and exchange labels, in place, until they hold still. The objective never rises."""
        for _ in range(self.max_iter):
            targets = targets_of(np.concatenate([codes, labels]), len(self.classes_))
            before = trainer.objective(solution, targets, C_unlabeled)
            fitted = trainer.solve(targets, C_unlabeled)
            after = trainer.objective(fitted, targets, C_unlabeled)
            if after > before:  # as good as the solver's precision allows
                break
            solution = fitted
            n_switched = switch_labels(label_costs(solution.decision[len(codes) :], trainer.width), labels)
            for name, value in (("C_unlabeled", C_unlabeled), ("objective", after), ("n_switched", n_switched)):
                self.history_[name].append(value)
            if n_switched <= self.tol * len(labels):
                break
        return solution

    def _labels_under_ratio(self, trainer: Trainer, decision: Floats) -> Ints:
        """Labels for rows by their decision values, each class having its share."""
        labels = np.repeat(np.arange(len(self.classes_)), apportion(self.class_ratio_, len(decision)))
        switch_labels(label_costs(decision, trainer.width), labels)
        return labels

    # --- classifier ---------------------------------------------------------------------------------------------

    @like_input
    def decision_function(self, X):
        """Signed distances from the boundaries, in units of the margin.

        Parameters
        ----------
        X : array-like or torch.Tensor of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_classes)
            With two classes one value, positive for ``classes_[1]``; else one for each class against the rest.
        """
        return self._decision(X)

    def _decision(self, X: Any) -> Floats:
        check_is_fitted(self, "svm_")
        decision = self.svm_.decision_function(validate_data(self, X, reset=False, dtype=np.float64))
        return decision.ravel() if len(self.classes_) == 2 else decision

    @like_input
    def predict(self, X):
        """Predict the class of each row.

        Parameters
        ----------
        X : array-like or torch.Tensor of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,)
            Entries of ``classes_``.
        """
        decision = self._decision(X)  # first: it says when the estimator is not fitted
        return self.classes_[chosen(decision.reshape(len(decision), -1))]

    def score(self, X, y, sample_weight=None):
        """Accuracy over the labeled rows of y.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
            Rows marked as unlabeled do not count.
        sample_weight : array-like of shape (n_samples,), default=None

        Returns
        -------
        float

        Raises
        ------
        ValueError
            If no row is labeled: use LabeledStratifiedKFold, whose test folds hold labeled rows only.
        """
        return score_labeled(self, X, y, sample_weight)


# --- labels ---------------------------------------------------------------------------------------------------------


def targets_of(labels: Ints, n_classes: int) -> Floats:
    """1 for a row's own class and -1 for the others, shape (n, n_classes); with two classes one column suffices."""
    wanted = np.arange(1 if n_classes == 2 else 0, n_classes)
    return np.where(labels[:, None] == wanted, np.float32(1), np.float32(-1))


def chosen(decision: Floats) -> Ints:
    """Class index of each row by its decision values, shape (n, n_classes), or (n, 1) with two classes."""
    return (decision[:, 0] > 0).astype(np.int64) if decision.shape[1] == 1 else decision.argmax(1)


def estimate_shares(labeled: Ints, predicted: Ints, n_classes: int) -> Floats:
    """Share of each class among the unlabeled rows, by their predicted classes and those of the labeled rows.

    The shares among all N rows are those of labels and predictions together, pulled to the labels' shares by n_classes
    more rows: (N * shares + n_classes * labels' shares) / (N + n_classes). What the labeled rows leave of them falls to
    the unlabeled rows. That comes to the same pull of the predictions' shares, so none is negative, or 0 for a class
    with a label.

    The number of rows that pull grows neither with N nor with the number of labels: where the labels were drawn evenly
    from classes of different size, each such row may force an unlabeled row into a wrong class.
    """
    n_rows = len(labeled) + len(predicted)
    by_label, by_prediction = (np.bincount(codes, minlength=n_classes) / len(codes) for codes in (labeled, predicted))
    return (n_rows * by_prediction + n_classes * by_label) / (n_rows + n_classes)


def limit_drift(first: Floats, wanted: Floats, n_labeled: int) -> Floats:
    """Shares on the way from ``first`` to ``wanted``, each within MAX_DRIFT standard errors of ``first``."""
    step = wanted - first
    room = MAX_DRIFT * np.sqrt(first * (1 - first) / n_labeled)
    return first + step * min(1.0, (room / np.maximum(np.abs(step), np.finfo(float).tiny)).min())


def apportion(shares: Floats, n: int) -> Ints:
    """Whole numbers that sum to n, each within 1 of ``n * shares``: the largest remainders are rounded up."""
    # Rounded first, so that equal shares have equal remainders.
    exact = np.round(n * shares, 9)
    counts = np.floor(exact).astype(np.int64)
    counts[np.argsort(counts - exact, kind="stable")[: n - counts.sum()]] += 1
    return counts


def hinge(margin: Floats, width: float) -> Floats:
    """max(0, 1 - margin), its corner replaced by a parabola within ``width`` of margin 1; shape of ``margin``."""
    if not width:
        return np.maximum(0, 1 - margin)
    return width * hinge_slope(margin, width) ** 2 + np.maximum(0, 1 - width - margin)


def hinge_slope(margin: Floats, width: float) -> Floats:
    """Minus the derivative of ``hinge``, between 0 and 1; it changes by at most 1 / (2 width) per unit of margin."""
    return np.clip((1 + width - margin) / (2 * width), 0, 1)


def label_costs(decision: Floats, width: float) -> Floats:
    """Sum of a row's losses if it had each label, up to a constant per row; shape (n, n_classes)."""
    values = decision.astype(np.float64)
    costs = hinge(values, width) - hinge(-values, width)
    return np.hstack([-costs, np.zeros_like(costs)]) if decision.shape[1] == 1 else costs


def switch_labels(costs: Floats, labels: Ints) -> int:
    """Exchange the labels of pairs of rows while that lowers the sum of ``costs[i, labels[i]]``.

    Changes ``labels`` in place; the number of rows with each label stays. With two classes the result is the best there
    is under these numbers.

    Returns
    -------
    int
        How many rows have another label than before.
    """
    before = labels.copy()
    pairs = list(combinations(range(costs.shape[1]), 2))
    rounding = 1e-9 * max(1.0, np.abs(costs).max(initial=0.0))
    while sum(switch_pairs(costs, labels, a, b, rounding) for a, b in pairs):
        pass
    return int((labels != before).sum())


def switch_pairs(costs: Floats, labels: Ints, a: int, b: int, rounding: float) -> int:
    """Exchange labels a and b between the rows that gain most by it; how many pairs gained more than ``rounding``."""
    in_a, gain_a = movers(costs, labels, a, b)
    in_b, gain_b = movers(costs, labels, b, a)
    n = min(len(in_a), len(in_b))
    # Gains fall along both lists, and so do their sums: the first pairs are those to switch.
    n_gaining = int((gain_a[:n] + gain_b[:n] > rounding).sum())
    labels[in_a[:n_gaining]] = b
    labels[in_b[:n_gaining]] = a
    return n_gaining


def movers(costs: Floats, labels: Ints, source: int, target: int) -> tuple[Ints, Floats]:
    """Rows of class ``source`` and their gains if they were in ``target``, the largest gain first."""
    places = np.flatnonzero(labels == source)
    gain = costs[places, source] - costs[places, target]
    order = np.argsort(-gain, kind="stable")
    return places[order], gain[order]


# --- machines -------------------------------------------------------------------------------------------------------


class Machine(Protocol):
    """Decision functions, one or one per class."""

    def decision_function(self, X: Floats) -> Floats:
        """Values of shape (n, 1) or (n, n_classes)."""


@dataclass(frozen=True)
class Solution:
    """Fitted machines, their values on all training rows, and the penalty: half the sum of squared norms."""

    machine: Machine
    decision: Floats
    penalty: float


class Trainer:
    """Training rows, the labeled ones first, and how to fit machines to them."""

    width = 0.0

    def __init__(self, n_labeled: int, C: float):
        self.n_labeled, self.C = n_labeled, C

    def solve(self, targets: Floats, C_unlabeled: float) -> Solution:
        """Fit to the first ``len(targets)`` rows."""
        raise NotImplementedError

    def objective(self, solution: Solution, targets: Floats, C_unlabeled: float) -> float:
        """Penalty plus weighted losses; what is to be lowered."""
        losses = hinge(targets * solution.decision[: len(targets)], self.width).sum(1, dtype=np.float64)
        return solution.penalty + float(self._costs(len(targets), C_unlabeled) @ losses)

    def _costs(self, n: int, C_unlabeled: float) -> Floats:
        return np.where(np.arange(n) < self.n_labeled, self.C, C_unlabeled)


@dataclass(frozen=True)
class ExactMachine:
    """One SVC per column."""

    machines: list[SVC]

    def decision_function(self, X: Floats) -> Floats:
        """Values of shape (n, n_columns)."""
        if not len(X):
            return np.empty((0, len(self.machines)))
        return np.column_stack([machine.decision_function(X) for machine in self.machines])


class ExactTrainer(Trainer):
    """scikit-learn's SVC with weights."""

    def __init__(self, X: Floats, n_labeled: int, C: float, svc: SVC):
        super().__init__(n_labeled, C)
        self.X, self.svc = X, svc

    def solve(self, targets: Floats, C_unlabeled: float) -> Solution:
        """Fit one SVC per column of targets."""
        weight = self._costs(len(targets), C_unlabeled) / self.C
        machines = [self._fit_one(column, weight) for column in targets.T]
        machine = ExactMachine(machines)
        decision = machine.decision_function(self.X)
        # |w|^2 is the sum over support vectors of dual_coef * w'x, and w'x the decision less the intercept.
        squared_norms = [
            svc.dual_coef_[0] @ (values[svc.support_] - svc.intercept_[0])
            for svc, values in zip(machines, decision.T, strict=True)
        ]
        return Solution(machine, decision, float(sum(squared_norms)) / 2)

    def _fit_one(self, column: Floats, weight: Floats) -> SVC:
        return clone(self.svc).fit(self.X[: len(column)], column > 0, sample_weight=weight)


@dataclass(frozen=True)
class LinearMachine:
    """Linear functions of features of the rows; the last row of ``coef`` is the intercept."""

    features: Nystroem | None
    coef: Floats

    def decision_function(self, X: Floats) -> Floats:
        """Values of shape (n, n_columns)."""
        values = np.empty((len(X), self.coef.shape[1]))
        for block, features in blocks_of_features(self.features, X, np.arange(len(X))):
            values[block] = features @ self.coef[:-1] + self.coef[-1]
        return values


class PrimalTrainer(Trainer):
    """All columns at once on explicit features, by a Newton method whose second derivatives are bounded from above.

    The slope of the rounded hinge changes by at most 1 / (2 width), so that the objective's Hessian is at most
    I + sum_i cost_i phi_i phi_i' / (2 width): one matrix for all columns and all targets, factored once for each
    C_unlabeled. Each step goes to the minimum of a parabola above the objective; Nesterov's momentum, begun anew
    when it leads uphill, speeds that up.
    """

    width = HINGE_WIDTH

    def __init__(self, rows: Floats, places: Ints, n_labeled: int, C: float, features: Nystroem | None):
        super().__init__(n_labeled, C)
        n_columns = (rows.shape[1] if features is None else features.n_components) + 1
        self.features = features
        # Kernel features are at most 1, so half the memory will do; raw columns may have any scale.
        self.phi = np.ones((len(places), n_columns), dtype=np.float64 if features is None else np.float32)
        for block, values in blocks_of_features(features, rows, places):
            self.phi[block, :-1] = values
        self.gram = [gram(self.phi[:n_labeled]), gram(self.phi[n_labeled:])]
        self._factored: tuple[Any, Any] = (None, None)
        self._last: Floats | None = None

    def solve(self, targets: Floats, C_unlabeled: float) -> Solution:
        """Go down from the coefficients of the last call, at first from 0."""
        start = np.zeros((self.phi.shape[1], targets.shape[1])) if self._last is None else self._last
        self._last = coef = self._descend(start, targets, C_unlabeled)
        decision = np.concatenate([self.phi[block] @ self._like_phi(coef) for block in self._blocks(len(self.phi))])
        return Solution(LinearMachine(self.features, coef), decision, float((coef[:-1] ** 2).sum()) / 2)

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
            self._factored = (C_unlabeled, cho_factor(bound, lower=True))
        return self._factored[1]

    def _like_phi(self, coef: Floats) -> Floats:
        return coef.astype(self.phi.dtype)

    def _blocks(self, n: int) -> Iterator[slice]:
        return gen_batches(n, BLOCK)


def gram(phi: Floats) -> Floats:
    """phi' phi, summed in float64; shape (n_columns, n_columns)."""
    total = np.zeros((phi.shape[1], phi.shape[1]))
    for block in gen_batches(len(phi), BLOCK):
        total += phi[block].T @ phi[block]
    return total


def blocks_of_features(features: Nystroem | None, rows: Floats, places: Ints) -> Iterator[tuple[slice, Floats]]:
    """Slices of ``places``, and the features of the rows there."""
    for block in gen_batches(len(places), BLOCK):
        part = rows[places[block]]
        yield block, part if features is None else features.transform(part)
