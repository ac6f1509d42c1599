"""Images that a model decodes: analogies, samples of each class, the manifold of two latent dimensions."""

from __future__ import annotations

from statistics import NormalDist
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skdgm.display.images import ImageGrid, as_images, value_range

if TYPE_CHECKING:
    from matplotlib.axes import Axes

N_DRAWS_OF_PRIOR = 10_000  # from which the quantiles of a mixture are estimated


class AnalogyDisplay(ImageGrid):
    """One image, then the same style in every class: figure 1 of Kingma et al. 2014.

    A row begins with an image of X. Its latent code holds what the label does not (slant, stroke, width), and is
    decoded with each label in turn. The brightness scale is that of the images of X.

    Parameters
    ----------
    images : ndarray of shape (n_samples, 1 + n_classes, height, width) or with a last axis of 3
        The image and its analogies.
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
            ``(height, width)`` or ``(height, width, n_channels)``. Three channels are RGB; others are drawn side by
            side. None reads ``n_features`` pixels as a gray square.
        ax : matplotlib Axes, default=None
            Axes to draw into. None makes a figure.

        Returns
        -------
        display : AnalogyDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If the estimator does not decode codes given a class, or if the columns do not make images of
            ``image_shape``.
        """
        cls._check_has(estimator, "transform", "inverse_transform", "classes_")
        codes = np.asarray(estimator.transform(X))
        decoded = [estimator.inverse_transform(codes, np.repeat([c], len(codes))) for c in estimator.classes_]
        images = np.stack([as_images(part, image_shape) for part in (X, *decoded)], axis=1)
        names = ["", *map(str, estimator.classes_)]
        return cls(images, column_labels=names, limits=value_range(images[:, 0])).plot(ax)


class ConditionalSamplesDisplay(ImageGrid):
    """Images that a model generates, one class per row and one style per column.

    Parameters
    ----------
    images : ndarray of shape (n_classes, n_per_class, height, width) or with a last axis of 3
        The samples.
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
        limits: tuple[float, float] | None = None,
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
            ``(height, width)`` or ``(height, width, n_channels)``. Three channels are RGB; others are drawn side by
            side. None reads ``n_features`` pixels as a gray square.
        n_per_class : int, default=10
            Number of samples of each class.
        mean : bool, default=True
            If True, show the decoder's mean for each code. If False, show what ``sample`` draws, including the noise of
            each pixel: black and white under the Bernoulli likelihood.
        limits : tuple of two float, default=None
            Values that are drawn black and white, such as ``(0, 1)``; what lies beyond is clipped. None spans the
            values of all images.
        random_state : int or None, default=None
            Seed of the codes. None gives different images at each call and, with ``mean=False``, different styles in
            each row.
        ax : matplotlib Axes, default=None
            Axes to draw into. None makes a figure.

        Returns
        -------
        display : ConditionalSamplesDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If the estimator does not decode codes given a class, or if the columns do not make images of
            ``image_shape``.
        """
        cls._check_has(estimator, "inverse_transform", "classes_")
        codes = np.random.RandomState(random_state).normal(size=(n_per_class, len(estimator.get_feature_names_out())))

        def generated(label: Any) -> ArrayLike:
            if mean:
                return estimator.inverse_transform(codes, np.repeat([label], n_per_class))
            return estimator.sample(n_per_class, y=label, random_state=random_state)[0]

        images = np.stack([as_images(generated(label), image_shape) for label in estimator.classes_])
        return cls(images, row_labels=[str(c) for c in estimator.classes_], limits=limits).plot(ax)


class ManifoldDisplay(ImageGrid):
    """Images decoded from a grid of codes that covers two latent dimensions evenly: figure 4 of Kingma & Welling 2013.

    The grid is even on the unit square and is mapped to codes by the quantiles of the prior. Under a standard normal
    prior, each image stands for the same share of what the model generates.

    Parameters
    ----------
    images : ndarray of shape (n, n, height, width) or with a last axis of 3
        The decoded grid. The first dimension grows to the right, the second one upward.
    quantiles : ndarray of shape (2, n) or (n,), default=None
        Codes along each dimension, or along both, in increasing order, written at the axes. None writes none.
    names : tuple of two str, default=("", "")
        Names of the two dimensions.
    limits : tuple of two float, default=None
        Values that are drawn black and white; what lies beyond is clipped. None spans the values of all images.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes drawn into, after ``plot``.
    figure_ : matplotlib Figure
        The figure that contains ``ax_``.

    References
    ----------
    Kingma, Welling: Auto-encoding variational Bayes, 2013, arXiv 1312.6114.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skdgm import VAE
    >>> from skdgm.display import ManifoldDisplay
    >>> X = load_digits().data / 16
    >>> vae = VAE(2, prior="normal", max_iter=1, random_state=0).fit(X)
    >>> display = ManifoldDisplay.from_estimator(vae, n=3)
    >>> display.images.shape, [round(float(z), 2) for z in display.quantiles[0]]
    ((3, 3, 8, 8), [-0.97, 0.0, 0.97])
    """

    _gap = 0

    def __init__(
        self,
        images: NDArray[Any],
        *,
        quantiles: NDArray[Any] | None = None,
        names: tuple[str, str] = ("", ""),
        limits: tuple[float, float] | None = None,
    ) -> None:
        marks = {0, len(images) // 2, len(images) - 1}
        both = np.zeros((2, 0)) if quantiles is None else np.broadcast_to(quantiles, (2, len(images)))
        horizontal, vertical = ([f"{z:.1f}" if k in marks else "" for k, z in enumerate(values)] for values in both)
        super().__init__(images, row_labels=vertical[::-1], column_labels=horizontal, limits=limits)
        self.quantiles = quantiles
        self.names = names

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        image_shape: tuple[int, ...] | None = None,
        n: int = 15,
        dimensions: tuple[int, int] | None = None,
        y: Any = None,
        limits: tuple[float, float] | None = None,
        ax: Axes | None = None,
    ) -> Self:
        """Decode a grid of codes.

        Parameters
        ----------
        estimator : fitted transformer
            A model with ``inverse_transform(Z)`` and ``get_feature_names_out()``, such as VAE, DLGM, or M2Classifier.
            Its prior is taken for standard normal, unless it is a mixture of a VAE or DLGM.
        image_shape : tuple of int, default=None
            ``(height, width)`` or ``(height, width, n_channels)``. Three channels are RGB; others are drawn side by
            side. None reads ``n_features`` pixels as a gray square.
        n : int, default=15
            Images along each dimension, at least 1. More show finer steps, and reach farther into the tails.
        dimensions : tuple of two int, default=None
            Which latent dimensions to vary; all others have the prior's mean. None needs a model with two of them.
        y : label, default=None
            Class to decode with, if the estimator is a classifier, such as M2Classifier. None averages over the
            classes.
        limits : tuple of two float, default=None
            Values that are drawn black and white, such as ``(0, 1)``; what lies beyond is clipped. None spans the
            values of all images.
        ax : matplotlib Axes, default=None
            Axes to draw into. None makes a figure.

        Returns
        -------
        display : ManifoldDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If the estimator has no ``inverse_transform``; if ``n`` is below 1; if ``dimensions`` is None and the codes
            do not have two dimensions; or if it does not name two of them.
        """
        cls._check_has(estimator, "inverse_transform", "get_feature_names_out")
        if n < 1:
            raise ValueError(f"n must be at least 1, got {n}.")
        names = [str(name) for name in estimator.get_feature_names_out()]
        first, second = _two_dimensions(dimensions, len(names))
        mean, quantiles = _of_prior(estimator, (first, second), (np.arange(n) + 0.5) / n)
        codes = np.zeros((n * n, len(names))) + mean
        codes[:, first], codes[:, second] = np.tile(quantiles[0], n), np.repeat(quantiles[1][::-1], n)
        labels = [] if y is None else [np.repeat([y], n * n)]
        images = as_images(estimator.inverse_transform(codes, *labels), image_shape)
        images = images.reshape(n, n, *images.shape[1:])
        return cls(images, quantiles=quantiles, names=(names[first], names[second]), limits=limits).plot(ax)

    def plot(self, ax: Axes | None = None) -> Self:
        """Draw the grid.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw into. None makes a figure.

        Returns
        -------
        display : ManifoldDisplay
            The display itself, with ``ax_`` and ``figure_`` set.
        """
        super().plot(ax)
        self.ax_.tick_params(labeltop=False, labelbottom=True)
        self.ax_.set(xlabel=self.names[0], ylabel=self.names[1])
        return self


def _of_prior(
    estimator: Any, dimensions: tuple[int, int], shares: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the mean of the prior, and quantiles of two of its dimensions, (2, n); of a mixture, those of draws."""
    if getattr(estimator, "prior", "normal") == "normal":
        return np.zeros(1), np.tile([NormalDist().inv_cdf(share) for share in shares], (2, 1))
    codes = estimator.sample_codes(N_DRAWS_OF_PRIOR, random_state=0)
    return codes.mean(0), np.quantile(codes[:, dimensions], shares, axis=0).T


def _two_dimensions(dimensions: tuple[int, int] | None, n_dimensions: int) -> tuple[int, int]:
    """Check which two latent dimensions to vary."""
    if dimensions is None:
        if n_dimensions != 2:
            raise ValueError(
                f"A manifold needs two latent dimensions, got {n_dimensions}. Fit with n_components=2, or choose two: "
                "dimensions=(0, 1)."
            )
        return 0, 1
    first, second = dimensions
    if first == second or not {first, second} <= set(range(n_dimensions)):
        raise ValueError(
            f"dimensions must name two of the {n_dimensions} latent dimensions, from 0 to {n_dimensions - 1}, got "
            f"{tuple(dimensions)}."
        )
    return first, second
