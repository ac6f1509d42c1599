"""Grids of images with missing pixels: filled at once, several times, and step by step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from inspect import signature
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skdgm.display.images import ImageGrid, stacked, value_range

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class ImputationDisplay(ImageGrid):
    """Images with missing pixels, and what a model fills in: the mean, and draws that show how sure it is.

    The brightness scale is that of the observed pixels.

    Parameters
    ----------
    images : ndarray of shape (n_fills, n_samples, height, width) or with a last axis of 3
        A row of images per kind: the truth if it is known, the observed pixels, the mean, and the draws.
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
    ImputationChainDisplay : The Markov chain that fills the pixels step by step.

    Examples
    --------
    >>> import numpy as np
    >>> from skdgm.display import ImputationDisplay
    >>> X = np.array([[0.0, 1.0, np.nan, np.nan]])
    >>> display = ImputationDisplay.from_data(X, np.array([[0.0, 1.0, 0.5, 0.5]]))
    >>> display.row_labels, display.images.shape
    (['observed', 'mean'], (2, 1, 2, 2))
    """

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: ArrayLike,
        *,
        X_true: ArrayLike | None = None,
        image_shape: tuple[int, ...] | None = None,
        n_draws: int = 3,
        random_state: int | None = None,
        ax: Axes | None = None,
    ) -> Self:
        """Fill the missing pixels of X by the mean, and by several draws.

        Parameters
        ----------
        estimator : fitted imputer
            With ``impute(X)`` and ``impute(X, n_draws=...)``, such as VAE, DLGM or M2Classifier.
        X : array-like of shape (n_samples, n_features)
            The images, about ten rows, with NaN for missing pixels.
        X_true : array-like of shape (n_samples, n_features), default=None
            The same images without missing pixels, drawn above the others. None if they are not known.
        image_shape : tuple of int, default=None
            ``(height, width)`` or ``(height, width, n_channels)``. Three channels are RGB; others are drawn side by
            side. None reads ``n_features`` pixels as a gray square.
        n_draws : int, default=3
            Number of draws; 0 for the mean only. Where draws differ, the observed pixels do not tell.
        random_state : int or None, default=None
            Seed of the draws.
        ax : matplotlib Axes, default=None
            Axes to draw into. None makes a figure.

        Returns
        -------
        display : ImputationDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If the estimator has no ``impute``, or as for ``from_data``.
        """
        cls._check_has(estimator, "impute")
        draws = estimator.impute(X, n_draws=n_draws, random_state=random_state) if n_draws else ()
        return cls.from_data(X, estimator.impute(X), draws, X_true=X_true, image_shape=image_shape, ax=ax)

    @classmethod
    def from_data(
        cls,
        X: ArrayLike,
        mean: ArrayLike,
        draws: Sequence[ArrayLike] = (),
        *,
        X_true: ArrayLike | None = None,
        image_shape: tuple[int, ...] | None = None,
        ax: Axes | None = None,
    ) -> Self:
        """Draw images with missing pixels above the filled ones.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The images, with NaN for missing pixels.
        mean : array-like of shape (n_samples, n_features)
            The images, filled once.
        draws : sequence of array-like of shape (n_samples, n_features), default=()
            The images, filled several times.
        X_true : array-like of shape (n_samples, n_features), default=None
            The images without missing pixels, drawn above the others. None if they are not known.
        image_shape : tuple of int, default=None
            ``(height, width)`` or ``(height, width, n_channels)``. Three channels are RGB; others are drawn side by
            side. None reads ``n_features`` pixels as a gray square.
        ax : matplotlib Axes, default=None
            Axes to draw into. None makes a figure.

        Returns
        -------
        display : ImputationDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If the tables differ in shape, or if their columns do not make images of ``image_shape``.
        """
        filled = {"mean": mean} | {f"draw {k + 1}": draw for k, draw in enumerate(draws)}
        images, labels = _images_and_labels(X_true, X, filled, image_shape)
        return cls(images, row_labels=labels, limits=value_range(np.asarray(X))).plot(ax)


class ImputationChainDisplay(ImageGrid):
    """Missing pixels on their way through a Markov chain: the figure of missing data in Rezende et al. 2014.

    The chain starts at pixels drawn from the model. A step encodes the image, draws a new one, and puts the observed
    pixels back. The brightness scale is that of the observed pixels.

    Parameters
    ----------
    images : ndarray of shape (n_samples, n_states, height, width) or with a last axis of 3
        An image per row: the truth if it is known, the observed pixels, and states of the chain.
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
    ImputationDisplay : The mean and several draws.

    References
    ----------
    Rezende, Mohamed, Wierstra: Stochastic backpropagation and approximate inference in deep generative models, ICML
    2014, arXiv 1401.4082.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_digits
    >>> from skdgm import VAE
    >>> from skdgm.display import ImputationChainDisplay
    >>> X = load_digits().data / 16
    >>> vae = VAE(5, max_iter=1, random_state=0).fit(X)
    >>> X[:, :32] = np.nan
    >>> display = ImputationChainDisplay.from_estimator(vae, X[:3], steps=(1, 10), random_state=0)
    >>> display.column_labels, display.images.shape
    (['observed', '1', '10'], (3, 3, 8, 8))
    """

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: ArrayLike,
        *,
        steps: Sequence[int] = (1, 2, 5, 10, 20, 50, 100),
        X_true: ArrayLike | None = None,
        image_shape: tuple[int, ...] | None = None,
        random_state: int = 0,
        ax: Axes | None = None,
    ) -> Self:
        """Run the chain, and draw its states.

        Parameters
        ----------
        estimator : fitted imputer
            With ``impute(X, method="chain", n_steps=..., random_state=...)``: VAE or DLGM.
        X : array-like of shape (n_samples, n_features)
            The images, about five rows, with NaN for missing pixels.
        steps : sequence of int, default=(1, 2, 5, 10, 20, 50, 100)
            Numbers of steps after which to draw the state, each at least 1. The chain runs anew for each of them.
        X_true : array-like of shape (n_samples, n_features), default=None
            The same images without missing pixels, drawn first. None if they are not known.
        image_shape : tuple of int, default=None
            ``(height, width)`` or ``(height, width, n_channels)``. Three channels are RGB; others are drawn side by
            side. None reads ``n_features`` pixels as a gray square.
        random_state : int, default=0
            Seed of the chain. The same seed at each number of steps makes the columns states of one chain.
        ax : matplotlib Axes, default=None
            Axes to draw into. None makes a figure.

        Returns
        -------
        display : ImputationChainDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If the estimator has no ``impute``, or as for ``from_data``.
        """
        cls._check_has(estimator, "impute")
        if "n_steps" not in signature(estimator.impute).parameters:
            raise ValueError(
                f"{cls.__name__} needs an estimator whose impute has method='chain', such as VAE or DLGM, got "
                f"{type(estimator).__name__}. ImputationDisplay takes it."
            )
        states = {n: estimator.impute(X, method="chain", n_steps=n, random_state=random_state) for n in steps}
        return cls.from_data(X, states, X_true=X_true, image_shape=image_shape, ax=ax)

    @classmethod
    def from_data(
        cls,
        X: ArrayLike,
        states: Mapping[int, ArrayLike],
        *,
        X_true: ArrayLike | None = None,
        image_shape: tuple[int, ...] | None = None,
        ax: Axes | None = None,
    ) -> Self:
        """Draw states of a chain.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The images, with NaN for missing pixels.
        states : mapping from int to array-like of shape (n_samples, n_features)
            The filled images by the number of steps.
        X_true : array-like of shape (n_samples, n_features), default=None
            The images without missing pixels, drawn first. None if they are not known.
        image_shape : tuple of int, default=None
            ``(height, width)`` or ``(height, width, n_channels)``. Three channels are RGB; others are drawn side by
            side. None reads ``n_features`` pixels as a gray square.
        ax : matplotlib Axes, default=None
            Axes to draw into. None makes a figure.

        Returns
        -------
        display : ImputationChainDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If the tables differ in shape, or if their columns do not make images of ``image_shape``.
        """
        filled = {str(n): state for n, state in states.items()}
        images, labels = _images_and_labels(X_true, X, filled, image_shape)
        return cls(images.swapaxes(0, 1), column_labels=labels, limits=value_range(np.asarray(X))).plot(ax)

    def plot(self, ax: Axes | None = None) -> Self:
        """Draw the images.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw into. None makes a figure.

        Returns
        -------
        display : ImputationChainDisplay
            The display itself, with ``ax_`` and ``figure_`` set.
        """
        super().plot(ax)
        self.ax_.set_xlabel("after this many steps of the chain")
        return self


def _images_and_labels(
    X_true: ArrayLike | None, X: ArrayLike, filled: Mapping[str, ArrayLike], image_shape: tuple[int, ...] | None
) -> tuple[NDArray[Any], list[str]]:
    """Stack the truth, if known, the observed and the filled images, with a name for each."""
    tables = {"X": X, **filled} if X_true is None else {"X_true": X_true, "X": X, **filled}
    titles = {"X_true": "truth", "X": "observed"}
    return stacked(tables, image_shape), [titles.get(name, name) for name in tables]
