"""Plots of what a model says about each row: how reliable its probabilities are, and how likely the row is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skdgm._labels import labels_of
from skdgm.display._axes import COLORS, GRAY, Display, color_and_marker, legend_outside

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Z_95 = 1.96  # the normal distribution's quantile of 95% intervals


class ReliabilityDisplay(Display):
    """Accuracy against confidence: whether a classifier of any number of classes is right as often as it believes.

    The confidence of a row is the probability of its predicted class. Rows are binned by it; points below the diagonal
    are too certain. :class:`sklearn.calibration.CalibrationDisplay` does the same for one of two classes.

    Parameters
    ----------
    confidence, accuracy : ndarray of shape (n_bins,)
        Mean confidence of the rows in each bin that is not empty, and the share of them that is predicted correctly.
    counts : ndarray of int of shape (n_bins,)
        Rows in each bin.
    name : str, default=""
        Name of the classifier in the legend.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes drawn into, after ``plot``.
    figure_ : matplotlib Figure
        The figure that contains ``ax_``.

    See Also
    --------
    sklearn.calibration.CalibrationDisplay : The probability of one class of two.

    Examples
    --------
    >>> from skdgm.display import ReliabilityDisplay
    >>> proba = [[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.4, 0.6]]
    >>> display = ReliabilityDisplay.from_predictions([0, 1, 1, 1], proba, n_bins=2)
    >>> display.counts.tolist(), display.accuracy.tolist(), round(display.expected_error, 2)
    ([4], [0.75], 0.0)
    """

    def __init__(
        self, confidence: NDArray[Any], accuracy: NDArray[Any], counts: NDArray[np.intp], *, name: str = ""
    ) -> None:
        self.confidence = confidence
        self.accuracy = accuracy
        self.counts = counts
        self.name = name

    @property
    def expected_error(self) -> float:
        """Expected calibration error: mean distance of accuracy and confidence over the bins, weighted by rows."""
        return float(np.average(np.abs(self.accuracy - self.confidence), weights=self.counts))

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: ArrayLike,
        y: ArrayLike,
        *,
        n_bins: int = 10,
        strategy: str = "uniform",
        name: str | None = None,
        ax: Axes | None = None,
    ) -> Self:
        """Draw the reliability of a classifier on rows that it was not fitted to.

        Parameters
        ----------
        estimator : fitted classifier
            With ``predict_proba(X)`` and ``classes_``.
        X : array-like of shape (n_samples, n_features)
            Held-out rows.
        y : array-like of shape (n_samples,)
            Their classes. Rows with the estimator's ``unlabeled_value`` (-1 if it has no such parameter), None, NaN,
            NaT or pandas.NA are left out.
        n_bins : int, default=10
            Number of bins, at least 1. More bins show more detail, with fewer rows in each.
        strategy : {"uniform", "quantile"}, default="uniform"
            Bins of equal width, or of equally many rows.
        name : str, default=None
            Name in the legend. None is the name of the class.
        ax : matplotlib Axes, default=None
            Axes to draw into, for example those of another classifier's display. None makes a figure.

        Returns
        -------
        display : ReliabilityDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If the estimator has no ``predict_proba``, or as for ``from_predictions``.
        """
        cls._check_has(estimator, "predict_proba")
        labeled, labels = labels_of(y, getattr(estimator, "unlabeled_value", -1))
        proba = np.asarray(estimator.predict_proba(X))[labeled]
        name = type(estimator).__name__ if name is None else name
        options: dict[str, Any] = {"n_bins": n_bins, "strategy": strategy, "name": name, "ax": ax}
        return cls.from_predictions(labels, proba, classes=estimator.classes_, **options)

    @classmethod
    def from_predictions(
        cls,
        y_true: ArrayLike,
        y_proba: ArrayLike,
        *,
        classes: ArrayLike | None = None,
        n_bins: int = 10,
        strategy: str = "uniform",
        name: str = "",
        ax: Axes | None = None,
    ) -> Self:
        """Draw the reliability of predicted probabilities.

        Parameters
        ----------
        y_true : array-like of shape (n_samples,)
            The true classes.
        y_proba : array-like of shape (n_samples, n_classes)
            Probabilities of all classes.
        classes : array-like of shape (n_classes,), default=None
            Classes in the order of the columns of ``y_proba``. None is the sorted classes of ``y_true``.
        n_bins : int, default=10
            Number of bins, at least 1. More bins show more detail, with fewer rows in each.
        strategy : {"uniform", "quantile"}, default="uniform"
            Bins of equal width, or of equally many rows.
        name : str, default=""
            Name in the legend.
        ax : matplotlib Axes, default=None
            Axes to draw into. None makes a figure.

        Returns
        -------
        display : ReliabilityDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If ``y_proba`` does not have a row per label and a column per class, or if ``n_bins`` or ``strategy`` is
            invalid.
        """
        labels, proba = np.asarray(y_true), np.asarray(y_proba, dtype=float)
        known = np.unique(labels) if classes is None else np.asarray(classes)
        if not len(labels) or proba.shape != (len(labels), len(known)):
            raise ValueError(
                f"y_proba must be of shape (n_samples, n_classes) = ({len(labels)}, {len(known)}) with at least one "
                f"row, got {proba.shape}. If y_true lacks a class, pass classes=estimator.classes_."
            )
        confidence = proba.max(axis=1)
        correct = known[proba.argmax(axis=1)] == labels
        bins = _bins(confidence, n_bins, strategy)
        kept, bins, counts = np.unique(bins, return_inverse=True, return_counts=True)
        means = [np.bincount(bins, values, len(kept)) / counts for values in (confidence, correct.astype(float))]
        return cls(means[0], means[1], counts, name=name).plot(ax)

    def plot(self, ax: Axes | None = None) -> Self:
        """Draw a point per bin, with the 95% interval of its accuracy (Wilson's), and the diagonal.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw into; another curve in it gets another color. None makes a figure.

        Returns
        -------
        display : ReliabilityDisplay
            The display itself, with ``ax_`` and ``figure_`` set.
        """
        ax = self._draw_open(ax, figsize=(7.0, 4.2))
        if not ax.containers:
            ax.plot([0, 1], [0, 1], "--", color=GRAY, label="perfectly calibrated")
        color, marker = color_and_marker(len(ax.containers))
        below, above = _wilson(self.accuracy, self.counts)
        ax.errorbar(
            self.confidence,
            self.accuracy,
            yerr=[self.accuracy - below, above - self.accuracy],
            color=color,
            marker=marker,
            capsize=2,
            label=f"{self.name}\n(calibration error {100 * self.expected_error:.1f}%)".strip(),
        )
        low = min([*self.confidence, *ax.get_xlim()]) if len(ax.containers) > 1 else self.confidence.min() - 0.05
        ax.set(xlim=(max(0.0, low), 1.02), ylim=(0.0, 1.02))
        ax.set(xlabel="confidence: probability of the predicted class", ylabel="accuracy")
        legend_outside(ax)
        return self


class DensityHistogramDisplay(Display):
    """Histograms of log-densities of several groups of rows: how unlike the training rows a group is.

    Parameters
    ----------
    scores : mapping from str to array-like of shape (n_samples,)
        For each group of rows their log-densities, in nats.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes drawn into, after ``plot``.
    figure_ : matplotlib Figure
        The figure that contains ``ax_``.

    Examples
    --------
    >>> from skdgm.display import DensityHistogramDisplay
    >>> display = DensityHistogramDisplay({"held out": [-3.0, -2.0], "strange": [-9.0, -8.0, -3.0]}).plot()
    >>> [text.get_text() for text in display.ax_.get_legend().get_texts()]
    ['held out', 'strange']
    """

    def __init__(self, scores: Mapping[str, ArrayLike]) -> None:
        self.scores = scores

    @classmethod
    def from_estimator(cls, estimator: Any, groups: Mapping[str, Any] | ArrayLike, *, ax: Axes | None = None) -> Self:
        """Score the rows of several tables.

        Parameters
        ----------
        estimator : fitted density
            With ``score_samples(X)``, such as VAE, DLGM or GaussianMixture.
        groups : mapping from str to array-like of shape (n_samples, n_features), or one such table
            Tables to score, by name.
        ax : matplotlib Axes, default=None
            Axes to draw into. None makes a figure.

        Returns
        -------
        display : DensityHistogramDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If the estimator has no ``score_samples``.
        """
        cls._check_has(estimator, "score_samples")
        tables = groups if isinstance(groups, Mapping) else {"rows": groups}
        return cls({name: np.asarray(estimator.score_samples(X)) for name, X in tables.items()}).plot(ax)

    def plot(self, ax: Axes | None = None, *, n_bins: int = 40) -> Self:
        """Draw a histogram per group, each with a total of 100%.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw into. None makes a figure.
        n_bins : int, default=40
            Number of bins. Rows far below those of the likeliest group are counted in the first bin: their distance
            would leave most bins empty.

        Returns
        -------
        display : DensityHistogramDisplay
            The display itself, with ``ax_`` and ``figure_`` set.
        """
        if n_bins < 1:
            raise ValueError(f"n_bins must be at least 1, got {n_bins}.")
        ax = self._draw_open(ax, figsize=(6.5, 3.5))
        scores = {name: np.asarray(values, dtype=float) for name, values in self.scores.items()}
        low, high, is_cut = _range_of_most(list(scores.values()))
        edges = np.linspace(low, high, n_bins + 1)
        for (name, values), color in zip(scores.items(), cycle(COLORS)):
            weights = np.full(len(values), 100 / len(values))
            ax.hist(np.clip(values, low, high), list(edges), weights=weights, color=color, alpha=0.6, label=name)
        ax.set(
            xlabel="log-density, nats per row" + (" (first bin: and all below)" if is_cut else ""), ylabel="% of rows"
        )
        legend_outside(ax)
        return self


def _bins(confidence: NDArray[Any], n_bins: int, strategy: str) -> NDArray[np.intp]:
    """Return the bin of each row."""
    if n_bins < 1:
        raise ValueError(f"n_bins must be at least 1, got {n_bins}.")
    if strategy == "uniform":
        edges = np.linspace(0.0, 1.0, n_bins + 1)
    elif strategy == "quantile":
        edges = np.quantile(confidence, np.linspace(0.0, 1.0, n_bins + 1))
    else:
        raise ValueError(f"strategy must be 'uniform' or 'quantile', got {strategy!r}.")
    return np.digitize(confidence, edges[1:-1])


def _wilson(share: NDArray[Any], n: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return Wilson's 95% interval of a share of n."""
    center = (share + Z_95**2 / (2 * n)) / (1 + Z_95**2 / n)
    half = Z_95 / (1 + Z_95**2 / n) * np.sqrt(share * (1 - share) / n + Z_95**2 / (4 * n**2))
    return np.minimum(center - half, share), np.maximum(center + half, share)


def _range_of_most(groups: Sequence[NDArray[Any]]) -> tuple[float, float, bool]:
    """Return where a histogram begins and ends, and whether rows lie below.

    It begins at eight times the distance from median to tenth percentile below the median of the likeliest group.
    """
    every = np.concatenate(groups)
    median, tenth = max(tuple(np.quantile(group, [0.5, 0.1])) for group in groups)
    low = median - 8 * (median - tenth)
    begin, end = max(low, every.min()), every.max()
    margin = 0.5 if begin == end else 0.0  # bins need a width
    return begin - margin, end + margin, bool(every.min() < low)
