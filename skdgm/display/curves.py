"""Plots of a model's quality: the bound over the epochs of a fit, the accuracies of several methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skdgm.display._axes import Display

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class LossCurveDisplay(Display):
    """The terms of the bound over the epochs of a fit.

    Parameters
    ----------
    history : mapping from str to array-like of shape (n_epochs,)
        The terms, in nats per row: ``bound``, ``reconstruction``, ``kl`` and the like.
    validation_scores : array-like of shape (n_scores,), default=None
        The bound on the rows held out for early stopping, in nats per row. None if none were held out.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes drawn into, after ``plot``.
    figure_ : matplotlib Figure
        The figure that contains ``ax_``.

    Examples
    --------
    >>> from skdgm.display import LossCurveDisplay
    >>> history = {"bound": [-30.0, -25.0, -24.0], "kl": [1.0, 3.0, 4.0]}
    >>> display = LossCurveDisplay(history, validation_scores=[-31.0, -27.0, -26.0]).plot()
    >>> [line.get_label() for line in display.ax_.lines]
    ['bound', 'kl', 'validation']
    """

    def __init__(self, history: Mapping[str, ArrayLike], *, validation_scores: ArrayLike | None = None) -> None:
        self.history = history
        self.validation_scores = validation_scores

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: Axes | None = None) -> Self:
        """Draw the curves that a fit recorded.

        Parameters
        ----------
        estimator : fitted estimator
            With ``history_`` and ``validation_scores_``, such as VAE.
        ax : matplotlib Axes, default=None
            Axes to draw into. None makes a figure.

        Returns
        -------
        display : LossCurveDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If the estimator has no ``history_``.
        """
        if not hasattr(estimator, "history_"):
            raise ValueError(f"{type(estimator).__name__} has no history_. Call fit first, or pass its encoder_.")
        return cls(estimator.history_, validation_scores=estimator.validation_scores_).plot(ax)

    def plot(self, ax: Axes | None = None) -> Self:
        """Draw one line per term, and the validation scores dashed.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw into. None makes a figure.

        Returns
        -------
        display : LossCurveDisplay
            The display itself, with ``ax_`` and ``figure_`` set.
        """
        ax = self._draw_into(ax, figsize=(7.5, 4.0))
        for name, values in self.history.items():
            ax.plot(_epochs(values), values, label=name)
        if self.validation_scores is not None:
            ax.plot(_epochs(self.validation_scores), self.validation_scores, "k--", label="validation")
        ax.set(xlabel="epoch", ylabel="nats per row")
        ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
        return self


class AccuracyBarDisplay(Display):
    """The accuracy of several methods on the same splits: bars for the mean ± sd, a dot per split.

    Parameters
    ----------
    names : sequence of str
        The methods, from top to bottom.
    scores : ndarray of shape (n_methods, n_splits)
        Accuracies in [0, 1].

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes drawn into, after ``plot``.
    figure_ : matplotlib Figure
        The figure that contains ``ax_``.

    Examples
    --------
    >>> from skdgm.display import AccuracyBarDisplay
    >>> display = AccuracyBarDisplay.from_data(["SVC", "M2"], [[0.82, 0.84, 0.83], [0.90, 0.91, 0.92]])
    >>> [text.get_text() for text in display.ax_.texts]
    ['83.0 ± 1.0 %', '91.0 ± 1.0 %']
    """

    def __init__(self, names: Sequence[str], scores: NDArray[np.float64]) -> None:
        self.names = names
        self.scores = scores

    @classmethod
    def from_data(cls, names: Sequence[str], scores: ArrayLike, *, ax: Axes | None = None) -> Self:
        """Draw the accuracies of several methods.

        Parameters
        ----------
        names : sequence of str
            The methods, from top to bottom.
        scores : array-like of shape (n_methods, n_splits)
            Accuracies in [0, 1].
        ax : matplotlib Axes, default=None
            Axes to draw into. None makes a figure.

        Returns
        -------
        display : AccuracyBarDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If ``scores`` does not have one row per name and at least one column.
        """
        table = np.asarray(scores, dtype=float)
        if table.ndim != 2 or table.shape[0] != len(names) or table.shape[1] == 0:
            raise ValueError(
                f"scores must be of shape (n_methods, n_splits) = ({len(names)}, 1 or more), got {table.shape}."
            )
        return cls(names, table).plot(ax)

    def plot(self, ax: Axes | None = None) -> Self:
        """Draw the bars, with mean ± sd in percent next to them.

        The sd is the sample standard deviation (divided by ``n_splits - 1``); a single split has none.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw into. None makes a figure.

        Returns
        -------
        display : AccuracyBarDisplay
            The display itself, with ``ax_`` and ``figure_`` set.
        """
        n_methods, n_splits = self.scores.shape
        mean = self.scores.mean(axis=1)
        sd = self.scores.std(axis=1, ddof=1) if n_splits > 1 else None
        ax = self._draw_into(ax, figsize=(7.0, 1.0 + 0.4 * n_methods))
        rows = range(n_methods)
        ax.barh(rows, mean, xerr=sd, height=0.7, color="lightsteelblue", capsize=3)
        ax.plot(self.scores, rows, ".", color="tab:blue")
        for row in rows:
            spread = "" if sd is None else f" ± {100 * sd[row]:.1f}"
            ax.text(1.02, row, f"{100 * mean[row]:.1f}{spread} %", va="center", transform=ax.get_yaxis_transform())
        ax.set_yticks(rows, labels=list(self.names))
        ax.invert_yaxis()
        ax.set(xlim=(0.0, 1.0), xlabel="accuracy")
        return self


def _epochs(values: ArrayLike) -> NDArray[np.intp]:
    """Return 1, 2, ... for one value per epoch."""
    return np.arange(1, len(np.asarray(values)) + 1)
