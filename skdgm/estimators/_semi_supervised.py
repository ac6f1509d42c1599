"""What the classifiers of the M2 family share: labels to terms of the bound, and all prediction."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from numbers import Integral, Real
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from scipy.special import log_softmax
from sklearn.base import ClassifierMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score
from sklearn.utils import check_random_state, compute_class_weight
from sklearn.utils.validation import check_consistent_length
from torch import Generator, Tensor

from skdgm._labels import encode_labels, labels_of
from skdgm._sklearn_compat import Interval, StrOptions, validate_data
from skdgm.distributions import Categorical
from skdgm.estimators._base import (
    CHUNK,
    DeepGenerative,
    EpochTasks,
    KeepsFloatType,
    as_host_array,
    check_n_samples,
    fitting,
    layer_sizes,
    like_input,
)
from skdgm.models.m2 import M2Module
from skdgm.sources import Source, Subset
from skdgm.training import Term

AUTO_LABELED_BATCH = 100
# Classes with less than this share of q(y | x) are left out of a row's sum: it is below the sum's rounding.
NEGLIGIBLE = 1e-9
FLOATS = [np.float64, np.float32]
# Rows that the class prior is estimated from, at each epoch.
ROWS_FOR_PRIOR = 5000
# Labeled rows that logistic regression is fitted to at most, to begin with.
ROWS_FOR_START = 10_000
# Sums of a row's absolute cells up to which the linear map and the MLP of q(y | x) have the full rate.
SIZE_FOR_LINEAR, SIZE_FOR_HIDDEN = 25.0, 100.0
RATE_OF_LINEAR = 10.0  # of the linear map, against that of the other weights
# A given class prior contradicts the rows from this distance (total variation) to their estimate on.
MAX_PRIOR_DISTANCE, STEPS_TO_CHECK_PRIOR = 0.4, 10


class Weights(NamedTuple):
    """Weights of the mean -U, -L and log q(y | x), of the bound's gradient into q(y | x), and L2 penalties.

    ``classification_share`` is what log q(y | x) counts in the history's bound, None for its weight: J^alpha holds it.
    ``alpha`` is eq. (9)'s that weighs labels against the rest of q(y | x)'s gradient alike.
    """

    unlabeled: float
    labeled: float
    classification: float
    classification_share: float | None
    pull: float
    alpha: float
    penalties: dict[str, float]


class Strength(NamedTuple):
    """How strongly the bound pulls q(y | x), per column, and the MLP's penalty in labels, under alpha="auto"."""

    pull: float
    penalty: float


STRENGTH_FOR_TABLES, STRENGTH_FOR_IMAGES = Strength(5.0, 4.0), Strength(40.0, 1.0)


class SemiSupervised(
    KeepsFloatType, ClassNamePrefixFeaturesOutMixin, TransformerMixin, ClassifierMixin, DeepGenerative
):
    """Abstract base of M2Classifier and M1M2Classifier: an M2 trained on rows, or on codes of rows.

    An estimator gives the training source (``_training_source``) and the module that predicts (``_model``).
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **DeepGenerative._parameter_constraints,
        "alpha": [Interval(Real, 0, None, closed="left"), StrOptions({"auto"})],
        "alpha_normalization": [StrOptions({"paper", "balanced"})],
        "class_prior": [StrOptions({"estimated", "uniform", "empirical"}), "array-like", dict],
        "class_weight": [dict, StrOptions({"balanced"}), None],
        "labeled_batch_size": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "n_enumerated": [Interval(Integral, 1, None, closed="left"), None],
        "proba_method": [StrOptions({"classifier", "bayes"})],
        "unlabeled_value": [Integral, Real, str, None],
    }

    classes_: np.ndarray
    _max_pull: ClassVar[float] = 1.0  # on q(y | x), whatever the number of columns
    _starts_linear: ClassVar[bool] = True  # q(y | x) begins as logistic regression

    # --- abstract -----------------------------------------------------------------------------------------------

    @abstractmethod
    def _training_source(
        self, rows: np.ndarray, y: Tensor, weight: Tensor | None, random: np.random.RandomState, context: Any
    ) -> tuple[Source, int, Any]:
        """What the M2 is trained on: its rows, the number of their columns, and their likelihood."""

    @abstractmethod
    def _epoch_context(self, context: Any) -> Any:
        """The callback context whose subtasks are the M2's epochs."""

    @property
    @abstractmethod
    def _model(self) -> Any:
        """The module that predicts from X: it has q_y, code, decode, sample, log_joint, log_likelihood, elbo."""

    @property
    @abstractmethod
    def _n_fit_tasks(self) -> int:
        """Number of subtasks of ``fit``'s callback context."""

    # --- fit ----------------------------------------------------------------------------------------------------

    @fitting
    def fit(self, X, y):
        """Fit to labeled and unlabeled rows.

        Parameters
        ----------
        X : array-like or torch.Tensor of shape (n_samples, n_features)
            Finite values; in [0, 1] under ``likelihood="bernoulli"``.
        y : array-like of shape (n_samples,)
            Labels: integers, or strings in an object array. ``unlabeled_value``, None and NaN mark unlabeled rows. At
            least one row must be labeled; all may be.

        Returns
        -------
        self : estimator
            The fitted estimator.

        Raises
        ------
        ValueError
            For X that is not finite or outside a named likelihood's range; for y without a label, of a type that cannot
            hold the marker, or with several columns; for a class prior or device that does not fit. The estimator is
            then as it was before.

        Warns
        -----
        UserWarning
            Where cells lie absurdly far from all others of their column, and where numbers given as ``class_prior``
            contradict the unlabeled rows.
        ConvergenceWarning
            Where the fit ended at a bound clearly below that of independent columns.
        """
        context = self._init_callback_context(max_subtasks=self._n_fit_tasks)
        context.call_on_fit_task_begin(estimator=self, X=X, y=y)
        rows, codes = self._read_labeled(X, y)
        prior = self._initial_prior(codes)
        random, goes_on = self._start(), self.warm_start and hasattr(self, "module_")
        labels, weight = self._label_tensors(codes)
        source, n_columns, likelihood = self._training_source(rows, labels, weight, random, context)
        self.module_ = self._new_module(self._plan(n_columns, likelihood), random)
        self._set_prior(prior, shares(codes, len(self.classes_)))
        class_shares = ClassShares(self, source, codes, weight, random)
        if not goes_on:
            self.module_.classifier.start_at(class_shares.p_learned)
        weights = self._weights(n_columns, codes)
        self.alpha_ = weights.alpha
        terms, watched = self._terms(source, codes, weights, random)
        epochs = self._epoch_context(context)
        tasks = EpochTasks(self, epochs, X, y, before_epoch=class_shares.update)
        rates = self._start_classifier(source, codes) if self.alpha == "auto" else {}
        self._train(terms, random, len(rows), tasks, watched, weights.penalties, rates)
        self.class_prior_ = class_shares.estimated() if is_estimated(self.class_prior) else prior
        class_shares.check()
        if self.alpha == "auto" and self.class_weight is None:  # else it is J^alpha, or weighted
            self._warn_if_worse_than_constant(rows, len(self.classes_))
        if epochs is not context:
            epochs.call_on_fit_task_end(estimator=self)
        context.call_on_fit_task_end(estimator=self, X=X, y=y)
        return self

    # --- the class prior ----------------------------------------------------------------------------------------

    def _read_labeled(self, X: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
        """Validate X and y; sets ``classes_`` and gives rows and class indices, -1 where unlabeled."""
        previous = getattr(self, "classes_", None)
        rows, codes = read_labeled(self, X, y)
        if isinstance(self.class_prior, dict):
            codes = self._with_named_classes(codes)
        self._check_same_classes(previous)
        self._check_same_prior()
        return rows, codes

    def _with_named_classes(self, codes: np.ndarray) -> np.ndarray:
        """Class indices once ``classes_`` holds the classes that only ``class_prior`` names."""
        labeled, named = self.classes_.tolist(), list(self.class_prior)
        if any(label not in named for label in labeled):
            raise ValueError(self._wrong_prior())
        new = [label for label in named if label not in labeled]
        if any(isinstance(label, str) != isinstance(labeled[0], str) for label in new):
            raise ValueError(
                f"class_prior names the class {new[0]!r}, y has labels like {labeled[0]!r}. Name classes by labels of "
                "one type."
            )
        classes = np.unique(np.array([*labeled, *new], dtype=self.classes_.dtype if not new else None))
        if self.classes_.dtype == object:
            classes = classes.astype(object)
        place = np.searchsorted(classes, self.classes_)
        self.classes_ = classes
        return np.where(codes >= 0, np.asarray(place)[codes], -1)

    def _initial_prior(self, codes: np.ndarray) -> np.ndarray:
        """p(y) by the parameter ``class_prior``, in the order of ``classes_``; an estimate begins at the labels'."""
        n_classes = len(self.classes_)
        if isinstance(self.class_prior, str):
            return np.full(n_classes, 1 / n_classes) if self.class_prior == "uniform" else shares(codes, n_classes)
        given = self.class_prior
        if isinstance(given, dict):
            given = [given[label] for label in self.classes_.tolist()]
        prior = np.asarray(given, dtype=float)
        if prior.shape != (n_classes,) or not np.all(prior > 0) or not np.isclose(prior.sum(), 1):
            raise ValueError(self._wrong_prior())
        return prior / prior.sum()

    def _wrong_prior(self) -> str:
        return (
            f"class_prior must hold {len(self.classes_)} positive probabilities that sum to 1, one for each of the "
            f"classes {self.classes_.tolist()}, got {self.class_prior!r}. Use 'estimated', 'uniform', 'empirical', or "
            "a dict by label, which may name further classes."
        )

    def _set_prior(self, prior: np.ndarray, labeled: np.ndarray) -> None:
        """Give the module p(y), unless a warm start goes on from its estimate, and the shares of labels."""
        goes_on = self.warm_start and hasattr(self, "class_prior_") and is_estimated(self.class_prior)
        with np.errstate(divide="ignore"):
            log_prior, log_labeled = np.log(prior).astype(np.float32), np.log(labeled).astype(np.float32)
        if not goes_on:
            self.module_.log_p_y.copy_(torch.from_numpy(log_prior))
        self.module_.log_p_labeled.copy_(torch.from_numpy(log_labeled))

    def _check_same_prior(self) -> None:
        """Raise where a warm start meets another ``class_prior``."""
        known = getattr(self, "_fitted_prior", None) if self.warm_start else None
        if known is not None and repr(known) != repr(self.class_prior):
            raise ValueError(
                f"warm_start=True goes on from the last fit, but class_prior changed since: had {known!r}, wanted "
                f"{self.class_prior!r}. Use warm_start=False."
            )
        self._fitted_prior = self.class_prior

    def _label_tensors(self, codes: np.ndarray) -> tuple[Tensor, Tensor | None]:
        """Class indices and row weights on the device; an unlabeled row weighs 1."""
        y = torch.from_numpy(codes).to(self.device_)
        if self.class_weight is None:
            return y, None
        labeled = codes[codes >= 0]
        present, counts = np.unique(labeled, return_counts=True)
        by_class = np.ones(len(self.classes_))  # for a class without labels
        by_class[present] = compute_class_weight(
            self.class_weight, classes=self.classes_[present], y=self.classes_[labeled]
        )
        mean = np.average(by_class[present], weights=counts)  # of labeled rows: 1 once divided by it
        weight = np.where(codes >= 0, by_class[codes] / mean, 1.0)
        return y, torch.from_numpy(weight.astype(np.float32)).to(self.device_)

    def _plan(self, n_columns: int, likelihood: Any) -> dict[str, Any]:
        return {
            "n_columns": n_columns,
            "n_latent": int(self.n_components),
            "hidden": layer_sizes(self.hidden_layer_sizes),
            "activation": self.activation,
            "likelihood": likelihood,
            "linear_path": True,
            "clip_inputs": self._reads_clipped,
            "class_prior": [1 / len(self.classes_)] * len(self.classes_),  # set once the module is made
        }

    def _check_same_classes(self, previous: Any) -> None:
        """Raise where a warm start would give the last fit's classes other labels."""
        if self.warm_start and previous is not None and not np.array_equal(previous, self.classes_):
            raise ValueError(
                f"warm_start=True goes on from classes {previous.tolist()}, got labels of {self.classes_.tolist()}. "
                "Keep the classes, or use warm_start=False."
            )

    def _build(self, architecture: dict[str, Any], rng: Generator | None) -> M2Module:
        return M2Module(**architecture, rng=rng)

    # --- the objective ------------------------------------------------------------------------------------------

    def _weights(self, n_columns: int, codes: np.ndarray) -> Weights:
        """How much labeled bound, unlabeled bound and labels count, by ``alpha``.

        A number is the paper's. "paper": J^alpha / N literally, the extra term being alpha N times the mean over
        labels. "balanced": both bounds count alike whatever the numbers of rows, and each label's log q(y | x) keeps
        its weight against its bound. "auto": each row's bound counts once, the labels' mean log q(y | x) counts 1, and
        the bound's gradient into q(y | x) a share that doesn't grow with the number of columns.
        """
        n_rows, n_labeled = len(codes), int((codes >= 0).sum())
        unlabeled, labeled = 1 - n_labeled / n_rows, n_labeled / n_rows
        if self.alpha == "auto":
            strength = self._strength()
            per_label = (2 if len(self.classes_) == 2 else 1) / n_labeled  # two logits move one difference
            last = f"classifier.mlp.layers.{len(layer_sizes(self.hidden_layer_sizes))}"
            penalties = {"classifier.mlp.path": per_label, last: strength.penalty * per_label}
            penalties["classifier.mlp.layers"] = strength.penalty * per_label / 4
            pull = min(self._max_pull, strength.pull / n_columns)
            return Weights(unlabeled, labeled, 1.0, 0.0, pull, 1 / pull, penalties)
        if self.alpha_normalization == "paper":
            return Weights(unlabeled, labeled, self.alpha, None, 1.0, self.alpha, {})
        return Weights(1.0, 1.0, self.alpha * n_rows / n_labeled, None, 1.0, self.alpha, {})

    def _start_classifier(self, source: Source, codes: np.ndarray) -> dict[str, float]:
        """Let the linear part of q(y | x) begin as logistic regression on the labels; the rates that keep it there.

        A step of Adam moves every weight alike, and so a logit by the sum of a row's cells: many columns want a lower
        rate.
        """
        labeled = np.flatnonzero(codes >= 0)
        labeled = labeled[:: max(1, len(labeled) // ROWS_FOR_START)]
        rng = Generator(self.device_).manual_seed(self._noise_seed)
        batch = source.rows(torch.from_numpy(labeled).to(self.device_), rng)
        x = self.module_.classifier.mlp.read(batch.x, batch.observed).cpu().numpy()
        goes_on = self.warm_start and hasattr(self, "class_prior_")
        if self._starts_linear and len(np.unique(codes[labeled])) > 1 and not goes_on:
            weight = np.ones(len(x)) if batch.weight is None else batch.weight.cpu().numpy()
            weight = weight * (codes >= 0).sum() / len(x)  # the penalty stays that of so many labels
            start = logistic_regression(x, codes[labeled], len(self.classes_), weight)
            self.module_.classifier.mlp.start_linear(*(torch.from_numpy(part).to(self.device_) for part in start))
        size = float(np.abs(x).sum(1).mean()) + 1e-9
        return {
            "classifier.mlp.path": RATE_OF_LINEAR * min(1.0, SIZE_FOR_LINEAR / size) ** 2,
            "classifier.mlp.layers": min(1.0, SIZE_FOR_HIDDEN / size) ** 2,
        }

    def _strength(self) -> Strength:
        return STRENGTH_FOR_IMAGES if self._columns.is_image else STRENGTH_FOR_TABLES

    def _terms(
        self, source: Source, codes: np.ndarray, weights: Weights, random: np.random.RandomState
    ) -> tuple[list[Term], Term | None]:
        """The parts of J^alpha, eqs. (8) and (9), and the held-out rows to watch.

        Rows are held out of the bound alone, and from the larger of the two kinds: every label counts in the
        classification.
        """
        n_rows, unlabeled, labeled = len(codes), np.flatnonzero(codes < 0), np.flatnonzero(codes >= 0)
        bounded = labeled
        if len(unlabeled) >= (len(labeled) if self.early_stopping == "auto" else 1):
            unlabeled, held_out = self._hold_out(unlabeled, n_rows, random)
        else:
            bounded, held_out = self._hold_out(labeled, n_rows, random)
        terms = self._labeled_terms(source, labeled, bounded, weights, leads=len(labeled) > len(unlabeled))
        if len(unlabeled):
            rows = self._subset(source, unlabeled)
            terms.insert(0, self._unlabeled_term("unlabeled", rows, weights.unlabeled, weights.pull))
        terms += self._variance_prior(self.module_, terms[0].source, n_rows)
        watched = self._unlabeled_term("", self._subset(source, held_out), 1.0) if len(held_out) else None
        return terms, watched

    def _hold_out(
        self, places: np.ndarray, n_rows: int, random: np.random.RandomState
    ) -> tuple[np.ndarray, np.ndarray]:
        trained, watched = self._split_validation(len(places), random, wanted=self._holds_out(n_rows))
        return places[trained], places[watched]

    def _unlabeled_term(self, name: str, source: Source, weight: float, pull: float = 1.0) -> Term:
        module, n_enumerated = self.module_, self.n_enumerated
        # to find the classes that count, the CPU would have to wait for another device
        negligible = NEGLIGIBLE if self.device_ == "cpu" else 0.0

        def objective(batch, rng):
            return module.unlabeled_bound(batch.x, rng, batch.observed, n_enumerated, negligible, pull)

        return Term(name, source, objective, weight, self._batch_size(source.n_rows))

    def _labeled_terms(
        self, source: Source, labeled: np.ndarray, bounded: np.ndarray, weights: Weights, *, leads: bool
    ) -> list[Term]:
        module = self.module_
        rows = self._subset(source, labeled)
        of_bound = rows if len(bounded) == len(labeled) else self._subset(source, bounded)
        auto = self._batch_size(len(labeled)) if leads else AUTO_LABELED_BATCH
        size = min(len(bounded), auto if self.labeled_batch_size == "auto" else self.labeled_batch_size)

        def bound(batch, rng):
            return module.labeled_bound(batch.x, batch.y, rng, batch.observed)

        def log_q_y(batch, rng):
            return module.log_q_y(batch.x, batch.y, batch.observed)

        return [
            Term("labeled", of_bound, bound, weights.labeled, size),
            Term("classification", rows, log_q_y, weights.classification, size, share=weights.classification_share),
        ]

    def _subset(self, source: Source, places: np.ndarray) -> Subset:
        return Subset(source, torch.from_numpy(places).to(self.device_))

    # --- classifier ---------------------------------------------------------------------------------------------

    @like_input
    def predict(self, X):
        """The most probable class of each row.

        Parameters
        ----------
        X : array-like or torch.Tensor of shape (n_samples, n_features)
            Any finite values; in [0, 1] for ``likelihood="bernoulli"`` with ``proba_method="bayes"``.

        Returns
        -------
        ndarray of shape (n_samples,)
            Entries of ``classes_``.
        """
        self._check_fitted()
        best = self._log_proba(X).argmax(1)
        return self.classes_[best]

    @like_input
    def predict_proba(self, X):
        """Class probabilities: q(y | x), or p(y | x) by importance weights under ``proba_method="bayes"``.

        Parameters
        ----------
        X : array-like or torch.Tensor of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Columns in the order of ``classes_``; each row sums to 1.
        """
        self._check_fitted()
        return np.exp(self._log_proba(X))

    @like_input
    def predict_log_proba(self, X):
        """Logarithm of ``predict_proba``.

        Parameters
        ----------
        X : array-like or torch.Tensor of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
        """
        self._check_fitted()
        return self._log_proba(X)

    def _log_proba(self, X: Any) -> np.ndarray:
        rows, model = self._read(X), self._model
        if self.proba_method == "bayes":
            draws = self.n_importance_samples
            self._columns.check_density_range(rows)
            log_joint = self._apply_with_noise(
                lambda x, noise, observed: model.log_joint(x, noise, draws, observed), rows, self._draws_per_row
            )
            return log_softmax(log_joint.astype(np.float64), axis=1)
        return self._apply(lambda x, observed: Categorical(model.q_y(x, observed).log_probs.double()).log_probs, rows)

    @property
    def _draws_per_row(self) -> int:
        return self.n_importance_samples * len(self.classes_)

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

    # --- transformer and density --------------------------------------------------------------------------------

    @like_input
    def transform(self, X):
        """Posterior means of the code, averaged over q(y | x).

        Parameters
        ----------
        X : array-like or torch.Tensor of shape (n_samples, n_features)
            Any finite values.

        Returns
        -------
        ndarray of shape (n_samples, n_components)
            float32 for float32 X, else float64.
        """
        self._check_fitted()
        rows, model = self._read(X), self._model
        return self._apply(model.code, rows).astype(self._feature_dtype(rows))

    @like_input
    def inverse_transform(self, Z, y=None):
        """Decode codes to the decoder's mean, in the units of X.

        Parameters
        ----------
        Z : array-like or torch.Tensor of shape (n_samples, n_components)
        y : label or array-like of shape (n_samples,), default=None
            The class to decode each code as: ``inverse_transform(transform(X), y)`` shows X in the manner of class y.
            None averages over p(y), ``class_prior_``.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
        """
        self._check_fitted()
        codes, model = self._read_codes(Z), self._model
        return self._decode(codes, model.decode, *([] if y is None else [self._class_indices(y, len(codes))]))

    @like_input
    def score_samples(self, X):
        """Importance-weighted lower bound (in expectation) on log p(x), the label summed out, in nats per row.

        Parameters
        ----------
        X : array-like or torch.Tensor of shape (n_samples, n_features)
            In [0, 1] under ``likelihood="bernoulli"``; only 0/1 rows have a density there.

        Returns
        -------
        ndarray of shape (n_samples,)
            The density of X in its own units. Where "auto" chose Bernoulli, a cell out of range counts as the nearest
            value in range, less 10 nats.
        """
        self._check_fitted()
        model, draws = self._model, self.n_importance_samples
        return self._densities(
            X, lambda x, noise, observed: model.log_likelihood(x, noise, draws, observed), self._draws_per_row
        )

    @like_input
    def elbo_samples(self, X):
        """The bound -U(x) on log p(x), its expectation by ``n_importance_samples`` draws, in nats per row.

        Parameters
        ----------
        X : array-like or torch.Tensor of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        self._check_fitted()
        model, draws = self._model, self.n_importance_samples
        return self._densities(X, lambda x, noise, observed: model.elbo(x, noise, draws, observed), self._draws_per_row)

    def sample(self, n_samples=1, y=None, random_state=None):
        """Draw rows and their labels.

        Parameters
        ----------
        n_samples : int, default=1
        y : label or array-like of shape (n_samples,), default=None
            The class of each row; None draws it from p(y), ``class_prior_``.
        random_state : int, RandomState instance or None, default=None

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
        y : ndarray of shape (n_samples,)
        """
        self._check_fitted()
        check_n_samples(n_samples)
        random = check_random_state(random_state)
        if y is None:
            indices = random.choice(len(self.classes_), size=n_samples, p=self.class_prior_)
        else:
            indices = self._class_indices(y, n_samples)
        rng, model = self._generator(random), self._model
        rows = self._draw(n_samples, lambda: model.sample(torch.from_numpy(indices).to(self.device_), rng))
        return rows, self.classes_[indices]

    def _class_indices(self, y: Any, n: int) -> np.ndarray:
        """Indices in ``classes_`` of one label for all rows, or of one label each."""
        labels = np.asarray(as_host_array(y), dtype=None if not isinstance(y, (list, tuple)) else object).ravel()
        places = {label: place for place, label in enumerate(self.classes_.tolist())}
        strangers = [label for label in labels.tolist() if label not in places]
        if strangers:
            raise ValueError(f"y has {strangers[0]!r}, which is not among the classes {self.classes_.tolist()}.")
        if len(labels) not in (1, n):
            raise ValueError(f"y has {len(labels)} labels for {n} rows. Give one label, or one for each row.")
        return np.broadcast_to([places[label] for label in labels.tolist()], n).astype(np.int64)

    @property
    def _n_features_out(self) -> int:
        return self._architecture["n_latent"]


class ClassShares:
    """The class prior of a fit: estimated from the unlabeled rows before each epoch, or compared with them at the end.

    Parameters
    ----------
    classifier : SemiSupervised
    source : Source
        The training rows.
    codes : ndarray of shape (n_samples,)
        Class indices, -1 where unlabeled.
    weight : Tensor or None
        Weights of the rows: with them the classifier is that of other shares than the labels have.
    random : RandomState
        Chooses the rows that are read.
    """

    def __init__(
        self,
        classifier: Any,
        source: Source,
        codes: np.ndarray,
        weight: Tensor | None,
        random: np.random.RandomState,
    ) -> None:
        unlabeled = np.flatnonzero(codes < 0)
        self.classifier, self.source = classifier, source
        self.n_unlabeled, self.n_labeled = len(unlabeled), len(codes) - len(unlabeled)
        read = random.permutation(unlabeled)[:ROWS_FOR_PRIOR]
        self.read = torch.from_numpy(np.sort(read)).to(classifier.device_)
        self.rng = classifier._generator(random)
        labeled, n_classes = codes >= 0, len(classifier.classes_)
        weights = None if weight is None else weight.cpu().numpy()[labeled]
        counts = np.bincount(codes[labeled], weights, minlength=n_classes)
        self.p_learned = torch.from_numpy(counts / counts.sum()).float().to(classifier.device_)

    @torch.no_grad()
    def q_learned(self) -> Tensor:
        """Probabilities of the unlabeled rows, if these were as the weighted labels; (n, n_classes)."""
        parts = [self.source.rows(part, self.rng) for part in self.read.split(CHUNK)]
        module = self.classifier.module_
        return torch.cat([module.q_y_labeled(batch.x, batch.observed).probs for batch in parts])

    def mean_q_y(self, q_learned: Tensor, p_y: Tensor) -> Tensor:
        """Mean over rows of q(y | x) under a prior, (n_classes,)."""
        q_y = q_learned * torch.where(self.p_learned > 0, p_y / self.p_learned, 0.0)  # of the classes with labels
        return (q_y / q_y.sum(1, keepdim=True)).mean(0)

    def update(self, epoch: int) -> None:
        """Estimate the prior anew, where it is to be estimated and the classifier has learned something."""
        if epoch and is_estimated(self.classifier.class_prior) and self.n_unlabeled:
            module = self.classifier.module_
            found = self.mean_q_y(self.q_learned(), module.p_y.probs)
            module.estimate_prior(found, self.n_unlabeled, self.n_labeled)

    def estimated(self) -> np.ndarray:
        """The module's estimate, (n_classes,)."""
        prior = self.classifier.module_.p_y.probs.double().cpu().numpy()
        return prior / prior.sum()

    def check(self) -> None:
        """Warn where numbers given as prior contradict what the classifier says of the unlabeled rows."""
        given = self.classifier.class_prior_
        if isinstance(self.classifier.class_prior, str) or not self.n_unlabeled:
            return
        q_learned, p_y = self.q_learned(), self.p_learned
        for _ in range(STEPS_TO_CHECK_PRIOR):
            p_y = self.mean_q_y(q_learned, p_y)
        found = p_y.double().cpu().numpy()
        given = np.where(found > 0, given, 0)
        distance = 0.5 * np.abs(found - given / given.sum()).sum()
        if distance > MAX_PRIOR_DISTANCE:
            listed = zip(self.classifier.classes_, found, strict=True)
            shares = ", ".join(f"{label}: {share:.2f}" for label, share in listed)
            warnings.warn(
                f"class_prior={self.classifier.class_prior!r} does not fit the unlabeled rows: of these the classifier "
                f"finds {{{shares}}}. Use class_prior='estimated', unless you know better.",
                UserWarning,
                stacklevel=4,
            )


def logistic_regression(
    x: np.ndarray, codes: np.ndarray, n_classes: int, weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Weight, (n_classes, n_columns), and bias of logistic regression on labels; 0 for a class without any."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a start, not an answer
        model = LogisticRegression(max_iter=200).fit(x, codes, weight)
    coef, bias = model.coef_, model.intercept_
    if len(model.classes_) == 2:  # one logit difference, shared evenly
        coef, bias = np.vstack([-coef, coef]) / 2, np.append(-bias, bias) / 2
    both = np.zeros((n_classes, x.shape[1]), np.float32), np.zeros(n_classes, np.float32)
    both[0][model.classes_], both[1][model.classes_] = coef, bias
    return both


def is_estimated(class_prior: Any) -> bool:
    """Whether the class prior is to be estimated."""
    return isinstance(class_prior, str) and class_prior == "estimated"


def shares(codes: np.ndarray, n_classes: int) -> np.ndarray:
    """Share of each class among the labeled rows."""
    counts = np.bincount(codes[codes >= 0], minlength=n_classes)
    return counts / counts.sum()


def read_labeled(classifier: Any, X: Any, y: Any, dtype: Any = FLOATS) -> tuple[np.ndarray, np.ndarray]:
    """Validate X and y for ``fit``; sets ``classes_`` and gives rows and class indices, -1 where unlabeled."""
    owner = type(classifier).__name__
    if y is None:
        raise ValueError(
            f"{owner} requires y to be passed, but the target y is None. Mark unlabeled rows by "
            f"{classifier.unlabeled_value!r}."
        )
    rows = validate_data(classifier, as_host_array(X), reset=True, dtype=dtype)
    classifier.classes_, codes = encode_labels(as_host_array(y), classifier.unlabeled_value, owner=owner)
    check_consistent_length(rows, codes)
    return rows, codes


def score_labeled(classifier: Any, X: Any, y: Any, sample_weight: Any = None) -> float:
    """Accuracy of a classifier over the rows of y that carry a label."""
    check_consistent_length(X, y)
    labeled, labels = labels_of(as_host_array(y), classifier.unlabeled_value)
    if not labeled.any():
        raise ValueError(
            f"{type(classifier).__name__}.score: y has no labeled row, so there is nothing to compare with. "
            "Cross-validate with skdgm.model_selection.LabeledStratifiedKFold: its test folds hold labeled rows only."
        )
    predicted = np.asarray(as_host_array(classifier.predict(X)))[labeled]
    weight = None if sample_weight is None else np.asarray(sample_weight)[labeled]
    return float(accuracy_score(labels, predicted, sample_weight=weight))
