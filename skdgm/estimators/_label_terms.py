"""The terms of the objective of M2 and M1+M2, as sources of rows with weights."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import numpy as np

from skdgm.estimators._auto_alpha import AutoAlpha, auto_alpha
from skdgm.estimators._class_prior import ROWS_FOR_PRIOR, label_counts
from skdgm.estimators._kernel_start import LINEAR_ONLY, Strengths
from skdgm.estimators._options import layer_sizes
from skdgm.estimators._partial_fit import BaseIncremental
from skdgm.estimators._weights import relative, total, training_weights, with_weights
from skdgm.models.m2 import TermWeights, term_weights
from skdgm.sources import Source
from skdgm.training import Joint, Objective, Term

AUTO_LABELED_BATCH = 100
# Classes with a smaller probability q(y | x) are left out of the sum over classes: they are below its rounding.
NEGLIGIBLE = 1e-9


class RowWeights(NamedTuple):
    """Weights of the rows, each of shape (n_samples,), or None for equal weights.

    Attributes
    ----------
    sample : ndarray or None
        Those that the user gave.
    training : ndarray or None
        The same, but with the class weights of labeled rows.
    """

    sample: np.ndarray | None
    training: np.ndarray | None


class LabelTotals(NamedTuple):
    """What is known of the labels of all parts so far.

    Attributes
    ----------
    counts : ndarray of shape (2, n_classes)
        Sums of the labels' sample weights by class, and of their weights in training: times class weights.
    n_labeled, n_unlabeled : int, float
        Number of labels, and sum of the weights of unlabeled rows.
    mean_q_y : ndarray of shape (n_classes,) or None
        Mean q(y | x) of unlabeled rows.
    rate_factors : dict
        Factors on the learning rates of the classifier.
    """

    counts: np.ndarray
    n_labeled: int
    n_unlabeled: float
    mean_q_y: np.ndarray | None
    rate_factors: dict[str, float]

    @classmethod
    def none(cls, n_classes: int) -> LabelTotals:
        """No labels yet."""
        return cls(np.zeros((2, n_classes)), 0, 0.0, None, {})

    def plus(self, targets: np.ndarray, weights: RowWeights) -> LabelTotals:
        """Add the labels of a part."""
        counts = [label_counts(targets, self.counts.shape[1], weight) for weight in weights]
        unlabeled = np.flatnonzero(targets < 0)
        return self._replace(
            counts=self.counts + np.array(counts),
            n_labeled=self.n_labeled + len(targets) - len(unlabeled),
            n_unlabeled=self.n_unlabeled + total(weights.sample, unlabeled),
        )

    def with_mean(self, mean_q_y: np.ndarray, n_rows: float, class_prior: np.ndarray) -> LabelTotals:
        """Take in the mean over the last ``n_rows`` unlabeled rows: an average over all, but at most 5,000.

        The mean over the rows of a fit, or of a first part, is close to the class prior that these left.
        """
        before = class_prior if self.mean_q_y is None else self.mean_q_y
        step = min(1.0, n_rows / min(self.n_unlabeled, ROWS_FOR_PRIOR))
        return self._replace(mean_q_y=before + step * (mean_q_y - before))

    @property
    def shares(self) -> np.ndarray:
        """Shares of the classes among the labels, (2, n_classes), with one more label spread evenly over the classes.

        They are positive for classes that have no labels yet.
        """
        n_labels, n_classes = self.counts[0].sum(), self.counts.shape[1]
        counts = self.counts * [[1.0], [n_labels / (self.counts[1].sum() or 1.0)]] + 1 / n_classes
        return counts / counts.sum(1, keepdims=True)

    def weight_of_part(self, targets: np.ndarray, weights: RowWeights) -> float:
        """Mean class weight of the labels of a part relative to that of all labels, which include them; 1 for none."""
        of_sample, of_training = LabelTotals.none(self.counts.shape[1]).plus(targets, weights).counts.sum(1)
        all_sample, all_training = self.counts.sum(1)
        return float(of_training * all_sample / (of_sample * all_training)) if of_sample else 1.0


class BaseLabelTerms(BaseIncremental):
    """Abstract base: the objective J^alpha of an M2."""

    _max_gradient_scale: ClassVar[float] = 1.0  # of the bound on q(y | x), for any number of columns
    _strengths: Strengths = LINEAR_ONLY  # of the start of q(y | x)
    _totals: LabelTotals

    def _row_weights(self, targets: np.ndarray, weight: np.ndarray | None) -> RowWeights:
        """The weights of rows as given, and as the training multiplies them by ``class_weight``."""
        return RowWeights(weight, training_weights(targets, self.classes_, self.class_weight, weight))

    def _choose_alpha(self, n_columns: int, n_labeled: int) -> AutoAlpha:
        """Set ``alpha_``, and resolve alpha="auto"; a number neither scales gradients nor sets penalties."""
        if self.alpha != "auto":
            self.alpha_ = self.alpha
            return AutoAlpha(1.0, {})
        choice = auto_alpha(
            n_columns,
            n_labeled,
            len(self.classes_),
            len(layer_sizes(self.hidden_layer_sizes)),
            is_image=self._columns.is_image,
            max_gradient_scale=self._max_gradient_scale,
            linear_strength=self._strengths.linear,
        )
        self.alpha_ = choice.alpha
        return choice

    def _terms(
        self,
        source: Source,
        targets: np.ndarray,
        weights: RowWeights,
        gradient_scale: float,
        random: np.random.RandomState,
        *,
        n_rows: int,
        holds_out: bool,
        labels_weight: float = 1.0,
    ) -> tuple[list[Term], Term | None]:
        """Return the terms of J^alpha, eqs. (8) and (9), and the term of the held-out rows.

        Rows are held out of the bound only, labeled or unlabeled ones, whichever are more: every label counts in the
        classification term. Under "auto", the objective is the mean bound over all rows plus the mean log q(y | x) over
        labeled rows. A prior on the variances counts as one row beside ``n_rows``. ``labels_weight`` multiplies the
        terms of labeled rows.
        """
        unlabeled, labeled = np.flatnonzero(targets < 0), np.flatnonzero(targets >= 0)
        alpha = (1.0, "paper") if self.alpha == "auto" else (self.alpha, self.alpha_normalization)
        of_terms = term_weights(total(weights.sample, unlabeled), total(weights.sample, labeled), *alpha)
        of_terms = of_terms._replace(
            labeled=labels_weight * of_terms.labeled, classification=labels_weight * of_terms.classification
        )
        bound_rows = labeled
        if len(unlabeled) >= (len(labeled) if self.early_stopping == "auto" else min(2, len(labeled))):
            unlabeled, held_out = self._hold_out(unlabeled, random, wanted=holds_out)
        else:
            bound_rows, held_out = self._hold_out(labeled, random, wanted=holds_out)
        joint = self._joint_objective(gradient_scale) if len(unlabeled) and len(labeled) else None
        terms = []
        if len(unlabeled):
            rows = self._subset(source, unlabeled, weights.sample)
            objective = joint or self._unlabeled_objective(gradient_scale)
            terms.append(self._unlabeled_term("unlabeled", rows, of_terms.unlabeled, objective))
        if len(labeled):
            is_larger = len(labeled) > len(unlabeled)
            terms += self._labeled_terms(
                source, labeled, bound_rows, weights.training, of_terms, joint, labeled_is_larger=is_larger
            )
        terms += self._variance_prior(self.module_, terms[0].source, n_rows)
        if not len(held_out):
            return terms, None
        held_out_rows = self._subset(source, held_out, weights.sample)
        return terms, self._unlabeled_term("", held_out_rows, 1.0, self._unlabeled_objective())

    def _hold_out(
        self, indices: np.ndarray, random: np.random.RandomState, *, wanted: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        trained, validation = self._split_validation(len(indices), random, wanted=wanted)
        return indices[trained], indices[validation]

    def _label_sum(self, gradient_scale: float) -> dict[str, Any]:
        """How the bound of unlabeled rows sums over the classes."""
        # on another device, finding negligible classes would make the CPU wait
        negligible = NEGLIGIBLE if self.device_ == "cpu" else 0.0
        return {"n_enumerated": self.n_enumerated, "negligible": negligible, "gradient_scale": gradient_scale}

    def _joint_objective(self, gradient_scale: float) -> Joint:
        """The objective of the terms of unlabeled rows, labeled rows, and their labels, in this order."""
        module, options = self.module_, self._label_sum(gradient_scale)
        return Joint(lambda batches, rng: module.joint_bounds(*batches, rng, **options))

    def _unlabeled_objective(self, gradient_scale: float = 1.0) -> Objective:
        """The bound of unlabeled rows."""
        module, options = self.module_, self._label_sum(gradient_scale)
        return lambda batch, rng: module.unlabeled_bound(batch.x, rng, batch.observed, **options)

    def _unlabeled_term(self, name: str, source: Source, weight: float, objective: Objective | Joint) -> Term:
        return Term(name, source, objective, weight, self._batch_size(source.n_rows))

    def _labeled_terms(
        self,
        source: Source,
        labeled: np.ndarray,
        bound_rows: np.ndarray,
        row_weight: np.ndarray | None,
        of_terms: TermWeights,
        joint: Joint | None,
        *,
        labeled_is_larger: bool,
    ) -> list[Term]:
        module = self.module_
        rows = self._subset(source, labeled, row_weight)
        bound_source = rows if len(bound_rows) == len(labeled) else self._subset(source, bound_rows, row_weight)
        auto = self._batch_size(len(labeled)) if labeled_is_larger else AUTO_LABELED_BATCH
        size = min(len(bound_rows), auto if self.labeled_batch_size == "auto" else self.labeled_batch_size)

        def bound(batch, rng):
            return module.labeled_bound(batch.x, batch.y, rng, batch.observed)

        def log_q_y(batch, rng):
            return module.log_q_y(batch.x, batch.y, rng, batch.observed)

        history_weight = (
            0.0 if self.alpha == "auto" else None
        )  # of the bound in the history: J^alpha if alpha is a number
        return [
            Term("labeled", bound_source, joint or bound, of_terms.labeled, size),
            Term(
                "classification", rows, joint or log_q_y, of_terms.classification, size, history_weight=history_weight
            ),
        ]

    def _subset(self, source: Source, indices: np.ndarray, weight: np.ndarray | None) -> Source:
        """Some rows of a source, with weights of mean 1."""
        return with_weights(source.subset(self._tensor(indices)), relative(weight, indices), self.device_)
