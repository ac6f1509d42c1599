"""Plots of tables: the columns of real and of drawn rows against each other."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from numbers import Real
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from skdgm._labels import is_missing
from skdgm.display._axes import COLORS, Display

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_COLUMNS, DEFAULT_COLUMNS = 8, 5  # of more than 8 columns, the panels are too small to read
JITTER = 0.15  # how far rows of a category spread, as a share of the distance between two categories


class PairPlotDisplay(Display):
    """Pairs of columns of real and drawn rows: whether a model has learned how the columns depend on each other.

    On the diagonal are histograms of each column, below it the rows. Rows of a category are spread a little, and
    categories are in the order that the frame declares, or else sorted. Missing cells are left out.

    Parameters
    ----------
    real, drawn : dict of str to ndarray
        Columns of the two tables, in the same order.
    orders : dict of str to list, default=None
        The categories of columns in the order in which to draw them. None sorts them.

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes of shape (n_columns, n_columns)
        The panels, after ``plot``.
    ax_ : matplotlib Axes
        The axes whose place the panels take, after ``plot``.
    figure_ : matplotlib Figure
        The figure that contains ``ax_``.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.mixture import GaussianMixture
    >>> from skdgm.display import PairPlotDisplay
    >>> X = load_iris().data
    >>> model = GaussianMixture(3, random_state=0).fit(X)
    >>> display = PairPlotDisplay.from_data(X, model.sample(150)[0], columns=[0, 2])
    >>> list(display.real), display.axes_.shape
    (['0', '2'], (2, 2))
    """

    axes_: NDArray[Any]

    def __init__(
        self,
        real: dict[str, NDArray[Any]],
        drawn: dict[str, NDArray[Any]],
        *,
        orders: dict[str, list[Any]] | None = None,
    ) -> None:
        self.real = real
        self.drawn = drawn
        self.orders = orders

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        *,
        columns: Sequence[Any] | None = None,
        random_state: int | None = None,
        ax: Axes | None = None,
    ) -> Self:
        """Draw as many rows from the model as X has, and compare.

        Parameters
        ----------
        estimator : fitted density
            With ``sample(n_samples, random_state=...)``, such as VAE, DLGM or M2Classifier.
        X : array-like or frame of shape (n_samples, n_features)
            Real rows, of the kind that the model was fitted to.
        columns : sequence of names or positions, default=None
            Which columns to draw, at most 8: names for frames, positions for arrays. None is the first five.
        random_state : int or None, default=None
            Seed of the drawn rows.
        ax : matplotlib Axes, default=None
            Axes whose place the panels take. None makes a figure.

        Returns
        -------
        display : PairPlotDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If the estimator cannot draw rows, or as for ``from_data``.
        """
        cls._check_has(estimator, "sample")
        n_samples = X.shape[0] if hasattr(X, "shape") else len(X)
        drawn = estimator.sample(n_samples, random_state=random_state)
        return cls.from_data(X, drawn[0] if isinstance(drawn, tuple) else drawn, columns=columns, ax=ax)

    @classmethod
    def from_data(cls, real: Any, drawn: Any, *, columns: Sequence[Any] | None = None, ax: Axes | None = None) -> Self:
        """Draw pairs of columns of two tables.

        Parameters
        ----------
        real, drawn : array-like or frame of shape (n_samples, n_features)
            The two tables, with the same columns.
        columns : sequence of names or positions, default=None
            Which columns to draw, at most 8: names for frames, positions for arrays. None is the first five.
        ax : matplotlib Axes, default=None
            Axes whose place the panels take. None makes a figure.

        Returns
        -------
        display : PairPlotDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If a table lacks a column, or if there are no or too many columns.
        """
        chosen = _known_columns(real, "real")[:DEFAULT_COLUMNS] if columns is None else list(columns)
        columns_of_both = _columns_of(real, chosen, "real"), _columns_of(drawn, chosen, "drawn")
        return cls(*columns_of_both, orders=_orders_of(real, chosen)).plot(ax)

    def plot(self, ax: Axes | None = None) -> Self:
        """Draw the panels.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes whose place the panels take, one of ``plt.subplots``. None makes a figure.

        Returns
        -------
        display : PairPlotDisplay
            The display itself, with ``ax_``, ``axes_`` and ``figure_`` set.
        """
        n = len(self.real)
        ax = self._draw_into(ax, figsize=(1.2 + 1.4 * n, 1.2 + 1.4 * n))
        ax.set_axis_off()
        place = ax.get_subplotspec()
        if place is None:
            raise ValueError("ax must be one of a grid of axes, such as of plt.subplots(), got one placed by hand.")
        self.axes_ = place.subgridspec(n, n).subplots(sharex="col", squeeze=False)
        orders = self.orders or {}
        columns = enumerate(self.real)
        scales = [_Scale(name, self.real[name], self.drawn[name], orders.get(name, []), j) for j, name in columns]
        for i, vertical in enumerate(scales):
            self._draw_histograms(self.axes_[i, i], vertical)
            for j, horizontal in enumerate(scales[:i]):
                self._draw_points(self.axes_[i, j], horizontal, vertical)
                self.axes_[j, i].set_axis_off()
            scales[i].write_below(self.axes_[-1, i])
            if i:
                scales[i].write_beside(self.axes_[i, 0])
        handles = [patch for patch in self.axes_[0, 0].containers]
        ax.figure.legend(handles, ["real", "drawn"], loc="outside upper right", frameon=False)
        return self

    def _draw_histograms(self, panel: Axes, scale: _Scale) -> None:
        """Draw the shares of the rows of both tables."""
        for places, color in zip(scale.places, COLORS, strict=False):
            seen = places[np.isfinite(places)]
            panel.hist(seen, list(scale.edges), weights=np.full(len(seen), 1 / len(seen)), color=color, alpha=0.6)
        panel.spines[["left", "top", "right"]].set_visible(False)
        panel.set(yticks=[])

    def _draw_points(self, panel: Axes, x: _Scale, y: _Scale) -> None:
        """Draw the rows of both tables."""
        for table, color in enumerate(COLORS[:2]):
            panel.scatter(x.spread(table), y.spread(table), s=6, color=color, alpha=0.5, lw=0)
        panel.spines[["top", "right"]].set_visible(False)
        panel.set(xlim=x.limits, ylim=y.limits)
        panel.tick_params(labelleft=False)


class _Scale:
    """The axis of a column: numbers as they are, categories at 0, 1, and so on.

    Attributes
    ----------
    categories : list
        Empty for a column of numbers.
    places : list of two ndarray of float
        The cells of the real and of the drawn rows.
    """

    def __init__(self, name: str, real: NDArray[Any], drawn: NDArray[Any], order: Sequence[Any], position: int) -> None:
        self.name, self.position, cells = name, position, [*real.tolist(), *drawn.tolist()]
        words = {cell for cell in cells if _is_word(cell)}
        self.categories = [one for one in order if one in words]
        self.categories += sorted(words.difference(self.categories), key=str)
        codes = {category: code for code, category in enumerate(self.categories)}
        number = codes.get if words else _as_float
        every = np.array([number(cell) for cell in cells], dtype=float)
        self.places = [every[: len(real)], every[len(real) :]]
        self.limits = self._limits(every)
        self.edges = np.linspace(*self.limits, len(self.categories) + 1 if words else 25)

    def _limits(self, every: NDArray[np.float64]) -> tuple[float, float]:
        if self.categories:
            return -0.5, len(self.categories) - 0.5
        low, high = np.nanmin(every), np.nanmax(every)
        margin = 0.05 * (high - low) or 0.5
        return float(low - margin), float(high + margin)

    def spread(self, table: int) -> NDArray[np.float64]:
        """Return the places of a table's rows, those of categories with noise that is the column's in each panel."""
        places = self.places[table]
        if not self.categories:
            return places
        return places + JITTER * np.random.RandomState([table, self.position]).uniform(-2, 2, len(places))

    def write_below(self, panel: Axes) -> None:
        """Name the column and its categories below a panel."""
        panel.set(xlabel=self.name, xlim=self.limits)
        if self.categories:
            panel.set_xticks(range(len(self.categories)), labels=[str(category) for category in self.categories])
            panel.tick_params(axis="x", rotation=90 if sum(len(str(c)) for c in self.categories) > 12 else 0)

    def write_beside(self, panel: Axes) -> None:
        """Name the column and its categories at the left of a panel."""
        panel.set(ylabel=self.name)
        panel.tick_params(labelleft=True)
        if self.categories:
            panel.set_yticks(range(len(self.categories)), labels=[str(category) for category in self.categories])


def _as_float(cell: Any) -> float:
    """Return a number as a float, and a missing cell as NaN."""
    return float(cell) if isinstance(cell, Real | Decimal) else np.nan


def _is_word(cell: Any) -> bool:
    """Tell whether a cell is a category: a text, a boolean, or an interval."""
    is_number = isinstance(cell, Real | Decimal) and not isinstance(cell, bool)
    return not is_number and not is_missing(np.array([cell, None], dtype=object))[0]


def _orders_of(table: Any, chosen: Sequence[Any]) -> dict[str, list[Any]]:
    """Return the categories of a frame's columns in their declared order."""
    if not hasattr(table, "columns"):
        return {}
    declared = {str(column): getattr(getattr(table[column], "dtype", None), "categories", None) for column in chosen}
    return {column: list(categories) for column, categories in declared.items() if categories is not None}


def _known_columns(table: Any, owner: str) -> list[Any]:
    """Return the names of a frame's columns, or the positions of an array's."""
    if hasattr(table, "columns"):
        return list(getattr(table, "column_names", None) or table.columns)  # the former of pyarrow
    if np.ndim(table) != 2:
        raise ValueError(f"{owner} must be of shape (n_samples, n_features), got {np.shape(table)}.")
    return list(range(np.shape(table)[1]))


def _columns_of(table: Any, chosen: Sequence[Any], owner: str) -> dict[str, NDArray[Any]]:
    """Return the chosen columns of a frame or of an array by name."""
    known = _known_columns(table, owner)
    unknown = [column for column in chosen if column not in known]
    if unknown:
        raise ValueError(f"{owner} has no column {unknown[0]!r}. Choose columns among {known}.")
    if not 1 <= len(chosen) <= MAX_COLUMNS:
        raise ValueError(
            f"A pair plot takes 1 to {MAX_COLUMNS} columns, got {len(chosen)}. Choose the most interesting ones: "
            f"columns={known[:DEFAULT_COLUMNS]}."
        )
    if hasattr(table, "toarray"):
        table = table.toarray()
    cells = table if hasattr(table, "columns") else dict(enumerate(np.asarray(table).T))
    return {str(column): np.asarray(cells[column]) for column in chosen}
