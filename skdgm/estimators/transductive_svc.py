"""Transductive SVM, the TSVM of M1+TSVM: it chooses the labels of unlabeled rows that allow a wide margin."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from skdgm._labels import check_two_classes
from skdgm._sklearn_compat import Interval, StrOptions, validate_data
from skdgm.estimators._arrays import tensor_in_tensor_out
from skdgm.estimators._callbacks import fitting
from skdgm.estimators._classifier import read_labeled, score_labeled
from skdgm.estimators._shards import same_random
from skdgm.estimators._state import StateError, VersionedState
from skdgm.svm.annealing import Annealing
from skdgm.svm.solvers import Solver, make_solver
from skdgm.svm.switching import labels_under_shares, predicted_labels

Floats = NDArray[np.floating]
Ints = NDArray[np.int64]

LARGEST_VALUE = 1e100


class TransductiveSVC(ClassifierMixin, VersionedState):
    r"""Transductive support vector machine: learn labels of the unlabeled rows together with the boundary.

    With labeled rows :math:`l`, unlabeled rows :math:`u`, classes :math:`k`, decision functions :math:`f_k` (one versus
    rest) and targets :math:`t_{ik} = 1` where row `i` has label `k`, else -1, it minimizes

    .. math::

        \tfrac{1}{2} \sum_k \|w_k\|^2 + C \sum_{i \in l} \sum_k h(t_{ik} f_k(x_i))
        + C^* \sum_{i \in u} \sum_k h(t_{ik} f_k(x_i)), \qquad h(m) = \max(0, 1 - m)

    over the SVMs *and* over the labels of the unlabeled rows, where each class has a fixed share of these rows [1]_:

    1. Fit an SVM to the labeled rows. It gives the first labels and, under ``class_ratio="estimated"``, the shares.
    2. Start with a small :math:`C^*`. Fit SVMs to all rows, then exchange the labels of pairs of rows wherever this
       lowers the sum of losses; repeat until (almost) no label changes. Neither step raises the objective, and an
       exchange keeps the number of rows in each class.
    3. Raise :math:`C^*`, estimate the shares again under ``class_ratio="estimated"``, and go to 2, until :math:`C^*`
       is ``C_unlabeled``.

    Labels are exchanged between all pairs of classes, and for all pairs of rows that gain by it at once [3]_. Every
    unlabeled row has exactly one label; independent one-versus-rest SVMs could give it several labels or none. With two
    classes, this is the algorithm of [1]_.

    Up to ``n_components`` rows, the SVMs are :class:`~sklearn.svm.SVC`. For more rows, ``n_components`` Nystroem
    features approximate the kernel, all classes are solved together in the primal, and the hinge is smoothed within 0.2
    of its corner [2]_: 50,000 rows in 10 classes take about a minute.

    Parameters
    ----------
    C : float, default=3.0
        Cost of a labeled row within the margin, positive. Larger values misclassify fewer labeled rows and bend the
        boundary more.

    C_unlabeled : float, default=0.3
        Cost of an unlabeled row within the margin at the end of annealing, positive. Larger values make the boundary
        avoid dense regions more strictly and give the labeled rows less weight. Near 0, the result is the SVM of the
        labeled rows. It is usually below `C`, because unlabeled rows are many.

    kernel : {"rbf", "linear"}, default="rbf"
        Kernel; "rbf" is :math:`\exp(-\gamma \|x - x'\|^2)`.

    gamma : {"scale", "auto"} or float, default="scale"
        Coefficient of the RBF kernel, positive. "scale" is 1 / (n_features * X.var()) over all rows of X, "auto" is 1 /
        n_features. Larger values narrow the influence of each row and bend the boundary more. It has no effect for
        ``kernel="linear"``.

    class_ratio : {"estimated", "labeled", "uniform"} or array-like of shape (n_classes,), default="estimated"
        Share of each class among the unlabeled rows, in the order of ``classes_``; the fit meets it to within one row.
        Without such a constraint, all unlabeled rows could fall on one side. Shares that are far from the truth force
        rows into wrong classes: if the share of a class is off by 0.1, at least a tenth of the unlabeled rows get a
        wrong label, and the boundary moves with them.

        - "estimated": first the shares that an SVM on the labeled rows predicts, then at each stage the shares
          predicted at the stage before (see Notes). It works whether labels were drawn evenly from each class, at
          random, or by hand. If the SVM is far off, so are the shares.
        - "labeled": the shares of the labels. Choose it for many labels drawn at random; the shares of 20 labels are
          easily off by 0.1. With labels drawn evenly from each class it treats the classes as equally large, and if
          they are not, many rows get wrong labels. With labels picked by hand it is right only if they were picked in
          proportion to the classes.
        - "uniform": equal shares. Choose it if the classes are known to be about equally large, however the labels were
          drawn.
        - array-like: the given shares, non-negative and with sum 1. It is the best choice if the shares are known,
          however the labels were drawn.

    max_unlabeled : int or None, default=50000
        Maximum number of unlabeled rows to fit to, at least 1. If there are more, this many are drawn at random; the
        others are labeled at the end, under the same `class_ratio` (estimated from the rows drawn). Larger values give
        better results; time and memory (4 bytes times `n_components` per row) grow in proportion. None uses all rows.

    n_components : int, default=500
        Number of Nystroem features, and the largest number of rows for which the kernel is exact, at least 1. Larger
        values approximate the kernel more closely, and time grows in proportion. ``kernel="linear"`` needs no features
        unless X has more than this many columns.

    n_stages : int, default=7
        Number of values of :math:`C^*`, in geometric progression from `C_unlabeled` / 1000 to `C_unlabeled`, at least
        1. More stages correct a bad first guess more gently and take longer; 1 starts with the full cost.

    max_iter : int, default=5
        Maximum number of fits for each value of :math:`C^*`, at least 1. Reaching it is a normal end. More fits let
        more labels change before the cost rises.

    tol : float, default=1e-3
        A stage ends when at most this share of the unlabeled rows has changed labels. With 0 it ends when no label
        changes. Larger values end it sooner.

    unlabeled_value : int, float, str or None, default=-1
        Label that marks a row as unlabeled. None, NaN, NaT, and pandas.NA in y mark unlabeled rows as well. If this
        parameter is None, every row must be labeled.

    random_state : int, RandomState instance or None, default=None
        Seeds everything random in ``fit``.

        It draws the rows of the Nystroem features, which are needed beyond `n_components` rows, and those of
        `max_unlabeled`.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Class labels, sorted, without the marker of unlabeled rows.
    class_ratio_ : ndarray of shape (n_classes,)
        Share of each class among the unlabeled rows, in the order of ``classes_``, that the fit used. With
        ``class_ratio="estimated"`` it is that of the last stage.
    transduction_ : ndarray of shape (n_samples,)
        A label for every training row. Labeled rows keep their labels; unlabeled rows have those of the fit, in the
        shares of ``class_ratio_``. ``predict`` on the same rows may differ.
    history_ : dict of str to list
        For every fit to all rows: "C_unlabeled", "objective" (after the fit), and "n_switched" (number of rows whose
        label changed after it). The objective never rises while C_unlabeled stays the same.
    n_iter_ : int
        Number of fits, including the first one to the labeled rows.
    svm_ : object
        The fitted SVMs, with the method ``decision_function(X)``.
    n_features_in_ : int
        Number of columns of X in ``fit``.
    feature_names_in_ : ndarray of str of shape (n_features,)
        Names of the columns of X. Only there if all of them are strings.

    See Also
    --------
    M1Classifier : Uses this as its inner estimator on the latent codes of a VAE (M1+TSVM).
    sklearn.semi_supervised.LabelSpreading : Spreads labels over a graph of neighbors.

    Notes
    -----
    If all rows are labeled, this is ``OneVsRestClassifier(SVC())`` (approximated beyond `n_components` rows).
    The objective has many local minima; annealing finds a good one, not the best one. The method helps if classes are
    clusters with sparse regions between them, and can harm if they are not.

    Under a small `C` or `gamma`, or with ``gamma="scale"`` and columns far from 0, nearly all rows lie within the
    margins, and the objective can be least with all rows on one side. The intercepts are then chosen such that
    `predict` gives the unlabeled rows the shares `class_ratio_`.

    ``class_ratio="estimated"`` works as follows. The first estimate is the shares that the SVM on the labeled rows
    predicts, pulled toward the shares of the labels as if there were `n_classes` more rows in those shares. This gives
    every class with a label a positive share. Later estimates follow the boundary as it moves out of the clusters, but
    stay within half a standard error of the first estimate, which is :math:`\sqrt{p (1 - p) / n}` for a share :math:`p`
    and :math:`n` labels. Without this limit, if there are no clusters, they could drift until one class has nearly all
    rows.

    ``cross_val_score`` and ``GridSearchCV`` need ``cv=LabeledStratifiedKFold()`` if y has unlabeled rows. With
    another splitter, they also need ``scoring=make_labeled_scorer("accuracy")``.

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
    There are two clusters, with one label at the edge of each. The boundary of an SVM on the labeled rows cuts through
    both clusters; that of the transductive SVM lies between them:

    >>> import numpy as np
    >>> from sklearn.datasets import make_blobs
    >>> from sklearn.svm import SVC
    >>> from skdgm import TransductiveSVC
    >>> X, y_true = make_blobs([100, 100], centers=[(-2, 0), (2, 0)], cluster_std=0.7, random_state=0)
    >>> labeled = [np.linalg.norm(X - rim, axis=1).argmin() for rim in ((-1.5, 2), (1.5, -2))]
    >>> y = np.full(200, -1)
    >>> y[labeled] = y_true[labeled]
    >>> SVC(C=3).fit(X[labeled], y[labeled]).score(X, y_true)
    0.94
    >>> model = TransductiveSVC().fit(X, y)
    >>> model.score(X, y_true)
    1.0
    >>> np.bincount(model.transduction_)
    array([100, 100])
    """

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

    _needed_when_fitted = ("svm_", "classes_", "n_features_in_", "_center")

    def __init__(
        self,
        *,
        C=3.0,
        C_unlabeled=0.3,
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
    ) -> None:
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

    def _check_state(self) -> None:
        n_classes = len(np.atleast_1d(self.classes_))
        n_svms = 1 if n_classes == 2 else n_classes
        if n_classes < 2 or getattr(self.svm_, "n_svms", None) != n_svms:
            raise StateError(self, f"its SVMs are not those of the classes {self.classes_!r}")

    # --- fit ----------------------------------------------------------------------------------------------------

    @fitting
    def fit(self, X, y):
        """Fit to labeled and unlabeled rows.

        Parameters
        ----------
        X : array-like or torch.Tensor of shape (n_samples, n_features)
            Values must be finite.
        y : array-like of shape (n_samples,)
            Labels: integers, or strings in an object array. ``unlabeled_value``, None, NaN, NaT and pandas.NA mark
            unlabeled rows. At least two classes need a labeled row; all rows may be labeled.

        Returns
        -------
        self : TransductiveSVC
            The fitted estimator.

        Raises
        ------
        ValueError
            If X is not finite or has values beyond 1e100; if y has labels of fewer than two classes, a type that cannot
            hold the marker, or several columns; or if `class_ratio` does not fit the classes. The estimator is then
            left unchanged.
        KeyboardInterrupt
            If Ctrl-C is pressed. The estimator is then left unchanged.

        Warns
        -----
        ConvergenceWarning
            If an SVM takes more than a million steps, as it may with a linear kernel and columns of thousands. Scale X.
        """
        rows, labels = self._read_labeled(X, y)
        gamma, self._center = self._gamma(rows), rows.mean(0)
        rows = rows - self._center  # no SVM depends on it, but sums of squares lose digits
        shares = self._shares(labels)
        random = same_random(check_random_state(self.random_state))
        labeled, used, rest = self._indices(labels, random)
        solver = self._solver(rows, np.concatenate([labeled, used]), len(labeled), gamma, random)
        annealing = self._annealing(solver, labels[labeled], shares)
        if len(used):
            annealing.run(self.C_unlabeled, self.n_stages)
        self.svm_, self.class_ratio_ = annealing.svms(), annealing.shares
        self.history_, self.n_iter_ = annealing.history, 1 + len(annealing.history["objective"])
        labels[used] = annealing.labels
        labels[rest] = labels_under_shares(self.svm_.decision_function(rows[rest]), self.class_ratio_, solver.width)
        self.transduction_ = self.classes_[labels]
        return self

    def _read_labeled(self, X: Any, y: Any) -> tuple[Floats, Ints]:
        """Validate X and y, and set ``classes_``; return rows and class indices, -1 for unlabeled rows."""
        rows, labels = read_labeled(self, X, y, dtype=np.float64)
        self._check_size(rows)
        check_two_classes(self.classes_, "TransductiveSVC")
        return rows, labels

    def _check_size(self, rows: Floats) -> None:
        """Raise an error for values whose squares may overflow, which would make all kernels infinite or NaN."""
        largest = max(rows.max(initial=0), -rows.min(initial=0))
        if largest > LARGEST_VALUE:
            raise ValueError(
                f"TransductiveSVC needs values up to {LARGEST_VALUE:g} in size, got {largest:.4g}. Scale X "
                "(StandardScaler, RobustScaler)."
            )

    def _shares(self, labels: Ints) -> Floats:
        """Return ``class_ratio`` as an array in the order of ``classes_``; "estimated" starts as "labeled"."""
        n_classes = len(self.classes_)
        if isinstance(self.class_ratio, str):
            counts = np.ones(n_classes) if self.class_ratio == "uniform" else np.bincount(labels[labels >= 0])
            return counts / counts.sum()
        given = np.asarray(self.class_ratio)
        are_numbers = given.dtype.kind in "iuf" and given.shape == (n_classes,)
        if not are_numbers or not np.all(given >= 0) or not np.isclose(given.sum(), 1):
            raise ValueError(
                f"class_ratio must hold {n_classes} non-negative shares that sum to 1, one for each of the classes "
                f"{self.classes_.tolist()}, got {self.class_ratio!r}. Use 'estimated' if they are not known."
            )
        return given / given.sum()

    def _indices(self, labels: Ints, random: np.random.RandomState) -> tuple[Ints, Ints, Ints]:
        """Return the indices of the labeled rows, of the unlabeled rows to fit to, and of the other unlabeled rows."""
        unlabeled = np.flatnonzero(labels < 0)
        used = unlabeled
        if self.max_unlabeled is not None and len(unlabeled) > self.max_unlabeled:
            used = np.sort(random.choice(unlabeled, self.max_unlabeled, replace=False))
        return np.flatnonzero(labels >= 0), used, np.setdiff1d(unlabeled, used)

    def _solver(
        self, rows: Floats, indices: Ints, n_labeled: int, gamma: float, random: np.random.RandomState
    ) -> Solver:
        return make_solver(
            rows,
            indices,
            n_labeled,
            C=self.C,
            kernel=self.kernel,
            gamma=gamma,
            n_components=self.n_components,
            random_state=random,
        )

    def _gamma(self, rows: Floats) -> float:
        if self.gamma == "auto":
            return 1 / rows.shape[1]
        return 1 / (rows.shape[1] * (rows.var() or 1.0)) if self.gamma == "scale" else float(self.gamma)

    def _annealing(self, solver: Solver, labeled: Ints, shares: Floats) -> Annealing:
        estimates = isinstance(self.class_ratio, str) and self.class_ratio == "estimated"
        return Annealing(solver, labeled, shares, estimates_shares=estimates, max_iter=self.max_iter, tol=self.tol)

    # --- classifier ---------------------------------------------------------------------------------------------

    @tensor_in_tensor_out
    def decision_function(self, X):
        """Compute signed distances from the boundaries, in units of the margin.

        Parameters
        ----------
        X : array-like or torch.Tensor of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_classes)
            With two classes, one value per row, positive for ``classes_[1]``; otherwise one value per class, against
            the rest.
        """
        return self._decision(X)

    def _decision(self, X: Any) -> Floats:
        check_is_fitted(self, "svm_")
        rows = validate_data(self, X, reset=False, dtype=np.float64)
        self._check_size(rows)
        decision = self.svm_.decision_function(rows - self._center)
        return decision.ravel() if len(self.classes_) == 2 else decision

    @tensor_in_tensor_out
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
        decision = self._decision(X)  # first, because it raises NotFittedError
        return self.classes_[predicted_labels(decision.reshape(len(decision), -1))]

    def score(self, X, y, sample_weight=None) -> float:
        """Compute the accuracy over the labeled rows of y.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
            Labels; unlabeled rows are ignored.
        sample_weight : array-like of shape (n_samples,), default=None

        Returns
        -------
        float

        Raises
        ------
        ValueError
            If no row is labeled. Use LabeledStratifiedKFold, whose test folds hold labeled rows only.
        """
        return score_labeled(self, X, y, sample_weight)
