"""Pictures of what a model learned, in the manner of scikit-learn's displays.

A class method (``from_data`` or ``from_estimator``) computes the numbers, the object keeps them, ``plot`` draws them
into an axes and sets ``ax_`` and ``figure_``. Only ``plot`` needs matplotlib.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

__all__ = [
    "AccuracyBarDisplay",
    "AnalogyDisplay",
    "ConditionalSamplesDisplay",
    "ImageGridDisplay",
    "LatentMapDisplay",
    "LossCurveDisplay",
]


class _Display:
    """What every display shares: the axes that it was last drawn into."""

    ax_: Axes
    figure_: Figure | SubFigure

    def _draw_into(self, ax: Axes | None, figsize: tuple[float, float]) -> Axes:
        """Set ``ax_`` and ``figure_``; without an axes, make a figure of ``figsize`` inches."""
        if ax is None:
            try:
                import matplotlib.pyplot as plt
            except ImportError as error:
                raise ImportError("Plotting needs matplotlib: pip install skdgm[plot]") from error
            _, ax = plt.subplots(figsize=figsize, layout="constrained")
        self.ax_ = ax
        self.figure_ = ax.figure
        return ax


class ImageGridDisplay(_Display):
    """Rows of images in one axes: reconstructions, samples, analogies, whatever is image-like.

    All images share one scale of brightness, from the least value in the grid to the greatest.

    Parameters
    ----------
    images : ndarray of shape (n_rows, n_columns, height, width) or (n_rows, n_columns, height, width, 3)
        Grey or RGB images. A cell that holds NaN stays empty.
    row_labels, column_labels : sequence of str, default=()
        Names beside the rows and above the columns; empty for none.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes drawn into, after ``plot``.
    figure_ : matplotlib Figure
        The figure that contains ``ax_``.

    See Also
    --------
    AnalogyDisplay : One image in the style of every class.
    ConditionalSamplesDisplay : Images made up for each class.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skdgm.display import ImageGridDisplay
    >>> X, y = load_digits(return_X_y=True)
    >>> display = ImageGridDisplay.from_data(X[:20], n_columns=5)
    >>> display.images.shape
    (4, 5, 8, 8)
    """

    def __init__(
        self, images: NDArray[Any], *, row_labels: Sequence[str] = (), column_labels: Sequence[str] = ()
    ) -> None:
        self.images = images
        self.row_labels = row_labels
        self.column_labels = column_labels

    @classmethod
    def from_data(
        cls,
        X: ArrayLike,
        *,
        image_shape: tuple[int, ...] | None = None,
        n_columns: int = 10,
        row_labels: Sequence[str] = (),
        column_labels: Sequence[str] = (),
        ax: Axes | None = None,
    ) -> Self:
        """Draw the rows of a table as images, from left to right and from top to bottom.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            One image per row, stored row by row.
        image_shape : tuple of int, default=None
            ``(height, width)`` or ``(height, width, 3)``. None reads ``n_features`` pixels as a grey square.
        n_columns : int, default=10
            Images per row, at least 1. The last row may stay incomplete.
        row_labels, column_labels : sequence of str, default=()
            Names beside the rows and above the columns; empty for none.
        ax : matplotlib Axes, default=None
            Axes to draw into. None makes a figure.

        Returns
        -------
        display : ImageGridDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If X is not two-dimensional or has no rows, if its columns do not make images of ``image_shape``, or if
            ``n_columns`` is below 1.
        """
        images = _tiled(_as_images(X, image_shape), n_columns)
        return cls(images, row_labels=row_labels, column_labels=column_labels).plot(ax)

    def plot(self, ax: Axes | None = None) -> Self:
        """Draw the images.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw into. None makes a figure.

        Returns
        -------
        display : ImageGridDisplay
            The display itself, with ``ax_`` and ``figure_`` set.
        """
        n_rows, n_columns, height, width = self.images.shape[:4]
        canvas = _canvas(self.images)
        ax = self._draw_into(ax, figsize=_figure_size(canvas.shape[1] / canvas.shape[0], n_columns))
        ax.imshow(canvas, cmap="gray", vmin=0.0, vmax=1.0, interpolation="nearest")
        ax.set_xticks(_centers(self.column_labels, width), labels=list(self.column_labels))
        ax.set_yticks(_centers(self.row_labels, height), labels=list(self.row_labels))
        ax.tick_params(length=0, labeltop=True, labelbottom=False)
        ax.spines[:].set_visible(False)
        return self


class AnalogyDisplay(ImageGridDisplay):
    """One image, then the same style in every class: figure 1 of Kingma et al. 2014.

    A row begins with an image of X. Its code, which holds what the label does not (slant, stroke, width), is decoded
    with each label in turn.

    Parameters
    ----------
    images : ndarray of shape (n_samples, 1 + n_classes, height, width) or with a last axis of 3
        The image and its analogies.
    row_labels, column_labels : sequence of str, default=()
        Names beside the rows and above the columns; empty for none.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes drawn into, after ``plot``.
    figure_ : matplotlib Figure
        The figure that contains ``ax_``.

    References
    ----------
    Kingma, Rezende, Mohamed, Welling: Semi-supervised learning with deep generative models, NIPS 2014,
    arXiv 1406.5298.

    Examples
    --------
    >>> from skdgm import M2Classifier
    >>> from skdgm.datasets import mask_labels
    >>> from skdgm.display import AnalogyDisplay
    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(return_X_y=True)
    >>> m2 = M2Classifier(max_iter=1, random_state=0).fit(X / 16, mask_labels(y, 50, random_state=0))
    >>> AnalogyDisplay.from_estimator(m2, X[:5] / 16).images.shape
    (5, 11, 8, 8)
    """

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: ArrayLike, *, image_shape: tuple[int, ...] | None = None, ax: Axes | None = None
    ) -> Self:
        """Encode the rows of X and decode their codes with every label.

        Parameters
        ----------
        estimator : fitted classifier
            With ``transform(X)``, ``inverse_transform(Z, y)`` and ``classes_``, such as M2Classifier.

        X : array-like of shape (n_samples, n_features)
            The images to begin with, some five to ten rows.
        image_shape : tuple of int, default=None
            ``(height, width)`` or ``(height, width, 3)``. None reads ``n_features`` pixels as a grey square.
        ax : matplotlib Axes, default=None
            Axes to draw into. None makes a figure.

        Returns
        -------
        display : AnalogyDisplay
            The display, drawn.
        """
        codes = np.asarray(estimator.transform(X))
        decoded = [estimator.inverse_transform(codes, np.repeat([c], len(codes))) for c in estimator.classes_]
        images = np.stack([_as_images(part, image_shape) for part in (X, *decoded)], axis=1)
        return cls(images, column_labels=["", *map(str, estimator.classes_)]).plot(ax)


class ConditionalSamplesDisplay(ImageGridDisplay):
    """Images that a model makes up for each class, one class per row and one style per column.

    Parameters
    ----------
    images : ndarray of shape (n_classes, n_per_class, height, width) or with a last axis of 3
        The samples.
    row_labels, column_labels : sequence of str, default=()
        Names beside the rows and above the columns; empty for none.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes drawn into, after ``plot``.
    figure_ : matplotlib Figure
        The figure that contains ``ax_``.

    Examples
    --------
    >>> from skdgm import M2Classifier
    >>> from skdgm.datasets import mask_labels
    >>> from skdgm.display import ConditionalSamplesDisplay
    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(return_X_y=True)
    >>> m2 = M2Classifier(max_iter=1, random_state=0).fit(X / 16, mask_labels(y, 50, random_state=0))
    >>> ConditionalSamplesDisplay.from_estimator(m2, n_per_class=4, random_state=0).images.shape
    (10, 4, 8, 8)
    """

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        image_shape: tuple[int, ...] | None = None,
        n_per_class: int = 10,
        mean: bool = True,
        random_state: int | None = None,
        ax: Axes | None = None,
    ) -> Self:
        """Make up images of every class, from the same random codes.

        Parameters
        ----------
        estimator : fitted classifier
            A model with ``classes_`` and with standard normal codes, such as M2Classifier: with
            ``inverse_transform(Z, y)`` and ``get_feature_names_out()``, for ``mean=False`` with
            ``sample(n_samples, y, random_state)``.
        image_shape : tuple of int, default=None
            ``(height, width)`` or ``(height, width, 3)``. None reads ``n_features`` pixels as a grey square.
        n_per_class : int, default=10
            Samples of each class.
        mean : bool, default=True
            Show the decoder's mean for each code. False shows what ``sample`` draws, the noise of each pixel included:
            black and white under the Bernoulli likelihood.
        random_state : int or None, default=None
            Seed of the codes. None gives other images at each call, with ``mean=False`` other styles in each row.
        ax : matplotlib Axes, default=None
            Axes to draw into. None makes a figure.

        Returns
        -------
        display : ConditionalSamplesDisplay
            The display, drawn.
        """
        codes = np.random.RandomState(random_state).normal(size=(n_per_class, len(estimator.get_feature_names_out())))

        def made_up(label: Any) -> ArrayLike:
            if mean:
                return estimator.inverse_transform(codes, np.repeat([label], n_per_class))
            return estimator.sample(n_per_class, y=label, random_state=random_state)[0]

        images = np.stack([_as_images(made_up(label), image_shape) for label in estimator.classes_])
        return cls(images, row_labels=[str(c) for c in estimator.classes_]).plot(ax)


class LossCurveDisplay(_Display):
    """The terms of the bound over the epochs of a fit.

    Parameters
    ----------
    history : mapping from str to array-like of shape (n_epochs,)
        The terms, in nats per row: ``bound``, ``reconstruction``, ``kl`` and the like.
    validation_scores : array-like of shape (n_scores,), default=None
        The bound on the rows held out for early stopping, in nats per row. None where none were held out.

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
        """Draw what a fit recorded.

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
            raise ValueError(f"{type(estimator).__name__} has no history_. Call fit first, or hand over its encoder_.")
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


class AccuracyBarDisplay(_Display):
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
        """Draw accuracies.

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
        """Draw the bars, with mean ± sd in percent beside them.

        The sd is that of a sample (divided by ``n_splits - 1``); a single split has none.

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


class LatentMapDisplay(_Display):
    """A map of the codes: the two latent dimensions that vary most, one color per class.

    Parameters
    ----------
    codes : ndarray of shape (n_samples, 2)
        The position of each row.
    names : tuple of two str
        Names of the two axes.
    groups : mapping from str to ndarray of int
        For each class the rows of ``codes`` that belong to it, drawn in this order. The group named ``"unlabeled"``
        is drawn grey.

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
        """Encode the rows of X and draw the two columns of the codes with the greatest sd.

        Parameters
        ----------
        estimator : fitted transformer
            With ``transform(X)``.

        X : array-like of shape (n_samples, n_features)
            The rows to place on the map.
        y : array-like of shape (n_samples,), default=None
            Their classes. Rows that carry the estimator's ``unlabeled_value`` (-1 where it has no such parameter),
            None or NaN are drawn grey. None draws all rows alike.
        ax : matplotlib Axes, default=None
            Axes to draw into. None makes a figure.

        Returns
        -------
        display : LatentMapDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If the codes have fewer than two columns.
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
            color = "lightgrey" if name == "unlabeled" else None
            ax.scatter(self.codes[rows, 0], self.codes[rows, 1], s=12, color=color, label=name)
        ax.set(xlabel=self.names[0], ylabel=self.names[1])
        if len(self.groups) > 1:
            ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
        return self


def _image_shape(n_features: int, image_shape: tuple[int, ...] | None) -> tuple[int, ...]:
    """Return the images' shape, checked against the number of columns; None is a grey square."""
    shape = (math.isqrt(n_features),) * 2 if image_shape is None else tuple(image_shape)
    if len(shape) not in (2, 3) or shape[2:] not in ((), (3,)) or math.prod(shape) != n_features:
        wanted = "image_shape=(height, width) or (height, width, 3)"
        raise ValueError(
            f"{n_features} columns do not make images of shape {shape}. Give {wanted} of that many values."
        )
    return shape


def _as_images(X: ArrayLike, image_shape: tuple[int, ...] | None) -> NDArray[Any]:
    """Reshape a table of shape (n, n_features) to images of shape (n, height, width[, 3])."""
    X = np.asarray(X)
    if X.ndim != 2 or len(X) == 0:
        raise ValueError(f"X must be of shape (n_samples, n_features) with at least one row, got {X.shape}.")
    return X.reshape(-1, *_image_shape(X.shape[1], image_shape))


def _tiled(images: NDArray[Any], n_columns: int) -> NDArray[Any]:
    """Arrange images of shape (n, ...) as (n_rows, n_columns, ...); cells left over hold NaN."""
    if n_columns < 1:
        raise ValueError(f"n_columns must be at least 1, got {n_columns}.")
    n_columns = min(n_columns, len(images))
    n_rows = -(-len(images) // n_columns)
    cells = np.full((n_rows * n_columns, *images.shape[1:]), np.nan)
    cells[: len(images)] = images
    return cells.reshape(n_rows, n_columns, *images.shape[1:])


def _canvas(images: NDArray[Any]) -> NDArray[np.float64]:
    """Return one image with all of them, brightness scaled to [0, 1]; gaps of a pixel and empty cells are white."""
    low, high = np.nanmin(images), np.nanmax(images)
    scaled = np.nan_to_num((images - low) / max(high - low, np.finfo(float).tiny), nan=1.0)
    gaps = [(0, 0), (0, 0), (0, 1), (0, 1)] + [(0, 0)] * (images.ndim - 4)
    padded = np.pad(scaled, gaps, constant_values=1.0)
    n_rows, n_columns, height, width = padded.shape[:4]
    flat = padded.swapaxes(1, 2).reshape(n_rows * height, n_columns * width, *padded.shape[4:])
    return flat[:-1, :-1]


def _figure_size(aspect: float, n_columns: int) -> tuple[float, float]:
    """Return the figure's width and height in inches for a canvas that is ``aspect`` times as wide as it is high."""
    width = min(8.0, 1.0 + 0.7 * n_columns)
    return width, min(10.0, 0.5 + width / aspect)


def _centers(labels: Sequence[str], size: int) -> NDArray[np.floating]:
    """Return where the labels of images of ``size`` pixels stand, a gap of one pixel between them."""
    return np.arange(len(labels)) * (size + 1) + (size - 1) / 2


def _epochs(values: ArrayLike) -> NDArray[np.intp]:
    """Return 1, 2, ... for one value per epoch."""
    return np.arange(1, len(np.asarray(values)) + 1)


def _groups(y: ArrayLike | None, n_samples: int, unlabeled_value: Any) -> dict[str, NDArray[np.intp]]:
    """Return the rows of each class by the class's name, unlabeled ones first."""
    if y is None:
        return {"all rows": np.arange(n_samples)}
    labels = [None if _is_missing(label) or label == unlabeled_value else label for label in np.asarray(y).tolist()]
    classes = sorted({label for label in labels if label is not None})
    unlabeled = {"unlabeled": None} if None in labels else {}
    named = unlabeled | {str(label): label for label in classes}
    return {name: np.flatnonzero([label == wanted for label in labels]) for name, wanted in named.items()}


def _is_missing(label: Any) -> bool:
    """Whether a label is None, NaN or pandas' NA."""
    return label is None or (not isinstance(label, str) and str(label) in ("nan", "<NA>"))
