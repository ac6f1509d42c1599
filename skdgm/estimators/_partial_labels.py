"""partial_fit of M2Classifier and M1M2Classifier: labels and the class prior in parts."""

from __future__ import annotations

import copy
from abc import abstractmethod
from typing import Any

import numpy as np
from torch import Tensor

from skdgm.estimators._callbacks import fitting
from skdgm.estimators._class_prior import ClassPriorEstimator, initial_prior, is_estimated
from skdgm.estimators._classifier import read_part
from skdgm.estimators._label_terms import LabelTotals, RowWeights
from skdgm.estimators._semi_supervised import PROBA_METHODS, BaseSemiSupervised, TrainingData
from skdgm.estimators._weights import weighted_rows
from skdgm.sources import Source


class BaseIncrementalClassifier(BaseSemiSupervised):
    """Abstract base of M2Classifier and M1M2Classifier: adds ``partial_fit``.

    An estimator provides the training source of a part (``_source_of_part``).
    """

    @abstractmethod
    def _source_of_part(
        self, X: Any, y: Tensor, sample_weight: np.ndarray | None, random: np.random.RandomState
    ) -> TrainingData:
        """Read the rows of a part; the first part chooses likelihoods and scales."""

    @fitting
    def partial_fit(self, X, y, classes=None, sample_weight=None):
        """Train for one epoch on some rows, labeled and unlabeled; further calls continue with other rows.

        The first call learns from its rows what ``fit`` learns from all rows before training: likelihoods, scales,
        categories, the architecture, and the start of q(y | x), which is better if some of these rows are labeled. It
        should have typical rows, not only a few of them.

        Every call passes once over its rows, in steps of ``batch_size`` rows, at the constant rate
        ``learning_rate_init``, and maximizes the objective that ``fit`` has for these rows. The moments of Adam and the
        average of the weights are kept between calls; predictions use the average. There are no held-out rows, no early
        stop, no KL warm-up, and no calibration. Priors count the rows and labels of all calls. An estimated class prior
        follows the last 5,000 unlabeled rows.

        If labels arrive late, pass their rows once more, with the labels.

        Parameters
        ----------
        X : array-like or torch.Tensor of shape (n_samples, n_features)
            As in ``fit``.
        y : array-like of shape (n_samples,)
            As in ``fit``; all rows may be unlabeled.
        classes : array-like of shape (n_classes,) or None, default=None
            All classes. The first call needs them, unless ``fit`` was called before. Classes need not have labels yet.
            ``unlabeled_value`` is not among them.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights of the rows, relative to the other rows of the call; rows of weight 0 are left out.

        Returns
        -------
        self : estimator
            This estimator. After ``fit``, calls continue from it; ``fit`` starts anew.

        Raises
        ------
        ValueError
            As in ``fit``; for a first call without ``classes``, other classes than before, a label that is none of
            them, rows with other columns than before, and ``class_weight="balanced"``. The estimator is then left
            unchanged.
        KeyboardInterrupt
            If Ctrl-C is pressed. The estimator is then left unchanged.
        """
        given, is_first = weighted_rows(X, y, sample_weight, type(self).__name__), self._is_first_part
        self._check_class_weight()
        table, targets = read_part(self, given.X, given.y, classes, is_first=is_first)
        weights = self._row_weights(targets, given.relative)
        before = LabelTotals.none(len(self.classes_)) if is_first else self._totals
        self._totals = before.plus(targets, weights)
        random = self._start_part(len(targets))
        data = self._source_of_part(table, self._tensor(targets), weights.sample, random)
        self._start_module(data, targets, random, is_first=is_first)
        prior = self._set_prior_of_part(data.source, targets, weights, random, is_first=is_first)
        if is_first and self.alpha == "auto":
            rates = self._init_classifier(data.source, targets, weights.training, random)
            self._totals = self._totals._replace(rate_factors=rates)
        choice = self._choose_alpha(data.n_columns, max(1, self._totals.n_labeled))
        options: dict[str, Any] = {
            "n_rows": self._parts.n_rows,
            "labels_weight": self._totals.weight_of_part(targets, weights),
        }
        terms, _ = self._terms(data.source, targets, weights, choice.gradient_scale, random, holds_out=False, **options)
        self._train_part(
            terms, random, len(targets), penalties=choice.penalties, rate_factors=self._totals.rate_factors
        )
        self.class_prior_ = prior
        return self

    def _check_class_weight(self) -> None:
        if isinstance(self.class_weight, str):
            raise ValueError(
                f"class_weight={self.class_weight!r} needs all labels at once, but partial_fit gets them in parts. Use "
                "a dict; sklearn.utils.class_weight.compute_class_weight computes weights from labels at hand."
            )

    def _start_module(
        self, data: TrainingData, targets: np.ndarray, random: np.random.RandomState, *, is_first: bool
    ) -> None:
        """Build the module, or copy it: if training fails, the estimator keeps the old one."""
        architecture = self._architecture_args(targets, data.n_columns, data.likelihood)
        if not is_first:
            self._check_same_model(architecture, {"n_centers"})
            self.module_ = copy.deepcopy(self.module_).to(self.device_)
            return
        self._temperatures = dict.fromkeys(PROBA_METHODS, 1.0)
        self._fitted_prior = self.class_prior
        self.module_ = self._new_module(architecture, random)

    def _set_prior_of_part(
        self,
        source: Source,
        targets: np.ndarray,
        weights: RowWeights,
        random: np.random.RandomState,
        *,
        is_first: bool,
    ) -> np.ndarray:
        """Set p(y) and the shares of the labels in the module, and return p(y)."""
        of_sample, of_training = self._totals.shares
        prior = self._prior_before(of_sample, targets, is_first=is_first)
        self._set_prior(prior, of_sample, of_training)
        estimator = ClassPriorEstimator(
            self.class_prior, self.module_, source, targets, of_training, weights.sample, random
        )
        if is_first:
            self.module_.classifier.init_shares(estimator.label_shares)
        elif is_estimated(self.class_prior):
            self._estimate_prior(estimator)
        return estimator.estimated() if is_estimated(self.class_prior) else prior

    def _prior_before(self, label_shares: np.ndarray, targets: np.ndarray, *, is_first: bool) -> np.ndarray:
        """The class prior before a part; an estimated one starts at the shares of the labels."""
        if not is_first and is_estimated(self.class_prior):
            return self.class_prior_
        if isinstance(self.class_prior, str) and self.class_prior != "uniform":
            return label_shares
        return initial_prior(self.class_prior, self.classes_, targets)

    def _estimate_prior(self, estimator: ClassPriorEstimator) -> None:
        """Estimate p(y) from the unlabeled rows of all parts, of which later ones count more."""
        if estimator.n_unlabeled:
            mean, unlabeled = estimator.found()
            if unlabeled > 0:
                self._totals = self._totals.with_mean(mean.cpu().numpy(), unlabeled, self.class_prior_)
        totals = self._totals
        if totals.mean_q_y is not None:
            mean = self._tensor(totals.mean_q_y)
            self.module_.estimate_prior(mean, totals.n_unlabeled, totals.counts[0].sum(), max(1, totals.n_labeled))
