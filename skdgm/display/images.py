"""Grids of images: data, analogies, samples of each class."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skdgm.display._axes import Display

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class ImageGridDisplay(Display):
    """A grid of images in one axes, such as reconstructions, samples or analogies.

    All images share one brightness scale, from the smallest value in the grid to the largest.

    Parameters
    ----------
    images : ndarray of shape (n_rows, n_columns, height, width) or (n_rows, n_columns, height, width, 3)
        Gray or RGB images. A cell that holds NaN stays empty.
    row_labels, column_labels : sequence of str, default=()
        Names next to the rows and above the columns; empty for none.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes drawn into, after ``plot``.
    figure_ : matplotlib Figure
        The figure that contains ``ax_``.

    See Also
    --------
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
            ``(height, width)`` or ``(height, width, 3)``. None reads ``n_features`` pixels as a gray square.
        n_columns : int, default=10
            Images per row, at least 1. The last row may stay incomplete.
        row_labels, column_labels : sequence of str, default=()
            Names next to the rows and above the columns; empty for none.
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

    A row begins with an image of X. Its latent code holds what the label does not (slant, stroke, width), and is
    decoded with each label in turn.

    Parameters
    ----------
    images : ndarray of shape (n_samples, 1 + n_classes, height, width) or with a last axis of 3
        The image and its analogies.
    row_labels, column_labels : sequence of str, default=()
        Names next to the rows and above the columns; empty for none.

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
            The images to begin with, about five to ten rows.
        image_shape : tuple of int, default=None
            ``(height, width)`` or ``(height, width, 3)``. None reads ``n_features`` pixels as a gray square.
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
    """Images that a model generates, one class per row and one style per column.

    Parameters
    ----------
    images : ndarray of shape (n_classes, n_per_class, height, width) or with a last axis of 3
        The samples.
    row_labels, column_labels : sequence of str, default=()
        Names next to the rows and above the columns; empty for none.

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
        """Generate images of every class from the same random codes.

        Parameters
        ----------
        estimator : fitted classifier
            A model with ``classes_`` and standard normal codes, such as M2Classifier. Needs
            ``inverse_transform(Z, y)`` and ``get_feature_names_out()``; with ``mean=False`` also
            ``sample(n_samples, y, random_state)``.
        image_shape : tuple of int, default=None
            ``(height, width)`` or ``(height, width, 3)``. None reads ``n_features`` pixels as a gray square.
        n_per_class : int, default=10
            Number of samples of each class.
        mean : bool, default=True
            If True, show the decoder's mean for each code. If False, show what ``sample`` draws, including the noise of
            each pixel: black and white under the Bernoulli likelihood.
        random_state : int or None, default=None
            Seed of the codes. None gives different images at each call and, with ``mean=False``, different styles in
            each row.
        ax : matplotlib Axes, default=None
            Axes to draw into. None makes a figure.

        Returns
        -------
        display : ConditionalSamplesDisplay
            The display, drawn.
        """
        codes = np.random.RandomState(random_state).normal(size=(n_per_class, len(estimator.get_feature_names_out())))

        def generated(label: Any) -> ArrayLike:
            if mean:
                return estimator.inverse_transform(codes, np.repeat([label], n_per_class))
            return estimator.sample(n_per_class, y=label, random_state=random_state)[0]

        images = np.stack([_as_images(generated(label), image_shape) for label in estimator.classes_])
        return cls(images, row_labels=[str(c) for c in estimator.classes_]).plot(ax)


def _image_shape(n_features: int, image_shape: tuple[int, ...] | None) -> tuple[int, ...]:
    """Return the images' shape, checked against the number of columns; None means a gray square."""
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
    """Arrange images of shape (n, ...) as (n_rows, n_columns, ...); unused cells hold NaN."""
    if n_columns < 1:
        raise ValueError(f"n_columns must be at least 1, got {n_columns}.")
    n_columns = min(n_columns, len(images))
    n_rows = -(-len(images) // n_columns)
    cells = np.full((n_rows * n_columns, *images.shape[1:]), np.nan)
    cells[: len(images)] = images
    return cells.reshape(n_rows, n_columns, *images.shape[1:])


def _canvas(images: NDArray[Any]) -> NDArray[np.float64]:
    """Join all images in one, with brightness scaled to [0, 1]; one-pixel gaps and empty cells are white."""
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
    """Return the label positions for images of ``size`` pixels with a gap of one pixel between them."""
    return np.arange(len(labels)) * (size + 1) + (size - 1) / 2
