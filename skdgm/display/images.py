"""Grids of images: rows of a table as images, and their reconstructions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skdgm._labels import is_missing
from skdgm.display._axes import Display

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Pixels that are missing in an image that is there: light blue, which no gray image contains.
MISSING = (0.67, 0.83, 0.93)


class ImageGrid(Display):
    """Base class of displays that hold a grid of images and draw it in one axes."""

    _gap = 1  # pixels between two images

    def __init__(
        self,
        images: NDArray[Any],
        *,
        row_labels: Sequence[str] = (),
        column_labels: Sequence[str] = (),
        limits: tuple[float, float] | None = None,
    ) -> None:
        self.images = images
        self.limits = limits
        self.row_labels = row_labels
        self.column_labels = column_labels

    def plot(self, ax: Axes | None = None) -> Self:
        """Draw the images.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw into. None makes a figure.

        Returns
        -------
        display : Display
            The display itself, with ``ax_`` and ``figure_`` set.
        """
        n_rows, n_columns, height, width = self.images.shape[:4]
        canvas = _canvas(self.images, self._gap, self.limits)
        ax = self._draw_into(ax, figsize=_figure_size(canvas.shape[1] / canvas.shape[0], n_columns))
        drawn = ax.imshow(canvas, cmap="gray", vmin=0.0, vmax=1.0, interpolation="nearest")
        drawn.set_cmap(drawn.get_cmap().with_extremes(bad=MISSING))
        ax.set_xticks(_centers(self.column_labels, width, self._gap), labels=list(self.column_labels))
        ax.set_yticks(_centers(self.row_labels, height, self._gap), labels=list(self.row_labels))
        ax.tick_params(length=0, labeltop=True, labelbottom=False)
        ax.spines[:].set_visible(False)
        return self


class ImageGridDisplay(ImageGrid):
    """A grid of images in one axes, such as reconstructions, samples or analogies.

    All images share one brightness scale.

    Parameters
    ----------
    images : ndarray of shape (n_rows, n_columns, height, width) or (n_rows, n_columns, height, width, 3)
        Gray or RGB images. A pixel that is NaN is drawn light blue: it is missing. An image that is NaN throughout
        stays empty.
    row_labels, column_labels : sequence of str, default=()
        Names next to the rows and above the columns; empty for none.
    limits : tuple of two float, default=None
        Values that are drawn black and white; what lies beyond is clipped. None spans the values of all images.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes drawn into, after ``plot``.
    figure_ : matplotlib Figure
        The figure that contains ``ax_``.

    See Also
    --------
    ReconstructionDisplay : Images and what is left of them after encoding and decoding.
    ImputationDisplay : Missing pixels, filled.
    AnalogyDisplay : Each image and its analogies in every class.
    ConditionalSamplesDisplay : Images generated for each class.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skdgm.display import ImageGridDisplay
    >>> X, y = load_digits(return_X_y=True)
    >>> display = ImageGridDisplay.from_data(X[:20], n_columns=5)
    >>> display.images.shape
    (4, 5, 8, 8)
    """

    @classmethod
    def from_data(
        cls,
        X: ArrayLike,
        *,
        image_shape: tuple[int, ...] | None = None,
        n_columns: int = 10,
        row_labels: Sequence[str] = (),
        column_labels: Sequence[str] = (),
        limits: tuple[float, float] | None = None,
        ax: Axes | None = None,
    ) -> Self:
        """Draw the rows of a table as images, from left to right and from top to bottom.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            One image per row, stored row by row.
        image_shape : tuple of int, default=None
            ``(height, width)`` or ``(height, width, n_channels)``. Three channels are RGB; others are drawn side by
            side. None reads ``n_features`` pixels as a gray square.
        n_columns : int, default=10
            Images per row, at least 1. The last row may stay incomplete.
        row_labels, column_labels : sequence of str, default=()
            Names next to the rows and above the columns; empty for none.
        limits : tuple of two float, default=None
            Values that are drawn black and white, such as ``(0, 1)``; what lies beyond is clipped. None spans the
            values of all images.
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
        images = _tiled(as_images(X, image_shape), n_columns)
        return cls(images, row_labels=row_labels, column_labels=column_labels, limits=limits).plot(ax)


class ReconstructionDisplay(ImageGrid):
    """Images above what is left of them after encoding and decoding.

    The brightness scale is that of the originals.

    Parameters
    ----------
    images : ndarray of shape (2, n_samples, height, width) or with a last axis of 3
        The images, then their reconstructions.
    row_labels, column_labels : sequence of str, default=()
        Names next to the rows and above the columns; empty for none.
    limits : tuple of two float, default=None
        Values that are drawn black and white; what lies beyond is clipped. None spans the values of all images.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes drawn into, after ``plot``.
    figure_ : matplotlib Figure
        The figure that contains ``ax_``.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.decomposition import PCA
    >>> from skdgm.display import ReconstructionDisplay
    >>> X, y = load_digits(return_X_y=True)
    >>> ReconstructionDisplay.from_estimator(PCA(10).fit(X), X[:8]).images.shape
    (2, 8, 8, 8)
    """

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: ArrayLike, *, image_shape: tuple[int, ...] | None = None, ax: Axes | None = None
    ) -> Self:
        """Encode the rows of X and decode their codes.

        Parameters
        ----------
        estimator : fitted transformer
            With ``transform(X)`` and ``inverse_transform(Z)``, such as VAE, DLGM or PCA. A classifier, such as
            M2Classifier, decodes with the class that it predicts.
        X : array-like of shape (n_samples, n_features)
            The images, about ten rows. Missing pixels may be NaN if the estimator reads them.
        image_shape : tuple of int, default=None
            ``(height, width)`` or ``(height, width, n_channels)``. Three channels are RGB; others are drawn side by
            side. None reads ``n_features`` pixels as a gray square.
        ax : matplotlib Axes, default=None
            Axes to draw into. None makes a figure.

        Returns
        -------
        display : ReconstructionDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If the estimator has no ``inverse_transform``, such as M1Classifier (pass its ``encoder_``), or as for
            ``from_data``.
        """
        cls._check_has(estimator, "transform", "inverse_transform")
        codes = estimator.transform(X)
        labels = [estimator.predict(X)] if hasattr(estimator, "classes_") else []
        return cls.from_data(X, estimator.inverse_transform(codes, *labels), image_shape=image_shape, ax=ax)

    @classmethod
    def from_data(
        cls,
        X: ArrayLike,
        reconstructed: ArrayLike,
        *,
        image_shape: tuple[int, ...] | None = None,
        ax: Axes | None = None,
    ) -> Self:
        """Draw images above their reconstructions.

        Parameters
        ----------
        X, reconstructed : array-like of shape (n_samples, n_features)
            The images and their reconstructions, one per row.
        image_shape : tuple of int, default=None
            ``(height, width)`` or ``(height, width, n_channels)``. Three channels are RGB; others are drawn side by
            side. None reads ``n_features`` pixels as a gray square.
        ax : matplotlib Axes, default=None
            Axes to draw into. None makes a figure.

        Returns
        -------
        display : ReconstructionDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If the two tables differ in shape, or their columns do not make images of ``image_shape``.
        """
        images = stacked({"X": X, "reconstructed": reconstructed}, image_shape)
        return cls(images, row_labels=["original", "reconstruction"], limits=value_range(images[0])).plot(ax)


def as_images(X: ArrayLike, image_shape: tuple[int, ...] | None) -> NDArray[Any]:
    """Reshape a table of shape (n, n_features) to images of shape (n, height, width[, 3])."""
    X = np.asarray(X)
    if X.dtype == object:  # a frame of nullable types
        X = np.where(is_missing(X.ravel()).reshape(X.shape), np.nan, X).astype(float)
    if X.ndim != 2 or len(X) == 0:
        raise ValueError(f"X must be of shape (n_samples, n_features) with at least one row, got {X.shape}.")
    height, width, *channels = _image_shape(X.shape[1], image_shape)
    images = X.reshape(-1, height, width, *channels)
    if channels in ([], [3]):
        return images
    return images.transpose(0, 1, 3, 2).reshape(len(X), height, -1)


def stacked(tables: Mapping[str, ArrayLike], image_shape: tuple[int, ...] | None) -> NDArray[Any]:
    """Stack the images of several tables of one shape, (n_tables, n, height, width[, 3])."""
    shapes = {name: np.shape(table) for name, table in tables.items()}
    if len(set(shapes.values())) > 1:
        first, *others = shapes
        other = next(name for name in others if shapes[name] != shapes[first])
        raise ValueError(
            f"{first} and {other} must hold the same images, got shapes {shapes[first]} and {shapes[other]}. Pass the "
            "same rows and columns of both."
        )
    return np.stack([as_images(table, image_shape) for table in tables.values()])


def value_range(images: NDArray[Any]) -> tuple[float, float]:
    """Return the smallest and the largest value of images, missing pixels aside; 0 and 1 if all are missing."""
    seen = images[np.isfinite(images)]
    return (float(seen.min()), float(seen.max())) if len(seen) else (0.0, 1.0)


def _image_shape(n_features: int, image_shape: tuple[int, ...] | None) -> tuple[int, ...]:
    """Return the images' shape, checked against the number of columns; None means a gray square."""
    shape = (math.isqrt(n_features),) * 2 if image_shape is None else tuple(image_shape)
    if len(shape) not in (2, 3) or math.prod(shape) != n_features:
        wanted = "image_shape=(height, width) or (height, width, n_channels)"
        raise ValueError(
            f"{n_features} columns do not make images of shape {shape}. Give {wanted} of that many values."
        )
    return shape


def _tiled(images: NDArray[Any], n_columns: int) -> NDArray[Any]:
    """Arrange images of shape (n, ...) as (n_rows, n_columns, ...); unused cells hold NaN."""
    if n_columns < 1:
        raise ValueError(f"n_columns must be at least 1, got {n_columns}.")
    n_columns = min(n_columns, len(images))
    n_rows = -(-len(images) // n_columns)
    cells = np.full((n_rows * n_columns, *images.shape[1:]), np.nan)
    cells[: len(images)] = images
    return cells.reshape(n_rows, n_columns, *images.shape[1:])


def _canvas(images: NDArray[Any], gap: int, limits: tuple[float, float] | None) -> NDArray[np.float64]:
    """Join all images in one, with brightness scaled to [0, 1]; gaps and empty cells are white, missing pixels NaN."""
    images = np.asarray(images, dtype=float)
    low, high = value_range(images) if limits is None else limits
    scaled = np.clip((images - low) / ((high - low) or 1.0), 0.0, 1.0)
    scaled[np.isnan(images).all(axis=tuple(range(2, images.ndim)))] = 1.0
    if images.ndim == 5:
        scaled[np.isnan(scaled).any(axis=-1)] = MISSING
    gaps = [(0, 0), (0, 0), (0, gap), (0, gap)] + [(0, 0)] * (images.ndim - 4)
    padded = np.pad(scaled, gaps, constant_values=1.0)
    n_rows, n_columns, height, width = padded.shape[:4]
    flat = padded.swapaxes(1, 2).reshape(n_rows * height, n_columns * width, *padded.shape[4:])
    return flat[: len(flat) - gap, : flat.shape[1] - gap]


def _figure_size(aspect: float, n_columns: int) -> tuple[float, float]:
    """Return the figure's width and height in inches for a canvas that is ``aspect`` times as wide as it is high."""
    width = min(8.0, 1.0 + 0.7 * n_columns)
    return width, min(10.0, 0.5 + width / aspect)


def _centers(labels: Sequence[str], size: int, gap: int) -> NDArray[np.floating]:
    """Return the label positions for images of ``size`` pixels with ``gap`` pixels between them."""
    return np.arange(len(labels)) * (size + gap) + (size - 1) / 2
