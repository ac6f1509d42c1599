"""Scatter plots (maps) of latent codes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skdgm._labels import labels_of
from skdgm.display._axes import Display

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class LatentMapDisplay(Display):
    """A map of the codes: the two latent dimensions that vary most, one color per class.

    Parameters
    ----------
    codes : ndarray of shape (n_samples, 2)
        The position of each row.
    names : tuple of two str
        Names of the two axes.
    groups : mapping from str to ndarray of int
        For each class the rows of ``codes`` that belong to it, drawn in this order. The group named ``"unlabeled"``
        is drawn gray.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes drawn into, after ``plot``.
    figure_ : matplotlib Figure
        The figure that contains ``ax_``.

    Examples
    --------
    >>> from skdgm.display import LatentMapDisplay
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.decomposition import PCA
    >>> X, y = load_iris(return_X_y=True)
    >>> y[10:] = -1
    >>> display = LatentMapDisplay.from_estimator(PCA().fit(X), X, y)
    >>> display.names, list(display.groups)
    (('pca0', 'pca1'), ['unlabeled', '0'])
    """

    def __init__(self, codes: NDArray[Any], *, names: tuple[str, str], groups: Mapping[str, NDArray[np.intp]]) -> None:
        self.codes = codes
        self.names = names
        self.groups = groups

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: ArrayLike, y: ArrayLike | None = None, *, ax: Axes | None = None
    ) -> Self:
        """Encode the rows of X and draw the two columns of the codes with the largest sd.

        Parameters
        ----------
        estimator : fitted transformer
            With ``transform(X)``.
        X : array-like of shape (n_samples, n_features)
            The rows to place on the map.
        y : array-like of shape (n_samples,), default=None
            Their classes. Unlabeled rows are drawn gray: those with the estimator's ``unlabeled_value`` (-1 if it has
            no such parameter), None, NaN, NaT or pandas.NA. Without y, all rows look alike.
        ax : matplotlib Axes, default=None
            Axes to draw into. None makes a figure.

        Returns
        -------
        display : LatentMapDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If the codes have fewer than two columns, or y mixes strings and numbers.
        """
        codes = np.asarray(estimator.transform(X))
        if codes.shape[1] < 2:
            raise ValueError(
                f"A map needs two latent dimensions, got {codes.shape[1]}. Fit with n_components=2 or more."
            )
        first, second = np.sort(np.argsort(-codes.std(axis=0), kind="stable")[:2])
        prefix = type(estimator).__name__.lower()
        groups = _groups(y, len(codes), getattr(estimator, "unlabeled_value", -1))
        return cls(codes[:, [first, second]], names=(f"{prefix}{first}", f"{prefix}{second}"), groups=groups).plot(ax)

    def plot(self, ax: Axes | None = None) -> Self:
        """Draw the map.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw into. None makes a figure.

        Returns
        -------
        display : LatentMapDisplay
            The display itself, with ``ax_`` and ``figure_`` set.
        """
        ax = self._draw_into(ax, figsize=(5.5, 5.0))
        for name, rows in self.groups.items():
            color = "lightgray" if name == "unlabeled" else None
            ax.scatter(self.codes[rows, 0], self.codes[rows, 1], s=12, color=color, label=name)
        ax.set(xlabel=self.names[0], ylabel=self.names[1])
        if len(self.groups) > 1:
            ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
        return self


def _groups(y: ArrayLike | None, n_samples: int, unlabeled_value: Any) -> dict[str, NDArray[np.intp]]:
    """Return the rows of each class by the name of the class, unlabeled rows first."""
    if y is None:
        return {"all rows": np.arange(n_samples)}
    labeled, labels = labels_of(y, unlabeled_value)
    rows = np.flatnonzero(labeled)
    unlabeled = {} if labeled.all() else {"unlabeled": np.flatnonzero(~labeled)}
    return unlabeled | {str(label): rows[labels == label] for label in np.unique(labels)}
