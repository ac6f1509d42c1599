"""Plots of a posterior of two latent dimensions: the exact one on a grid, and the encoder's normal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skdgm.display._axes import COLORS, Display

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LEVELS = (0.99, 0.9, 0.5)  # shares of the probability that the contours enclose


class PosteriorDisplay(Display):
    """Exact posterior of a row's two-dimensional code, and the encoder's normal that approximates it.

    The contours of both enclose 50, 90 and 99% of the probability.

    Parameters
    ----------
    z0, z1 : ndarray of shape (n0,) and (n1,)
        Evenly spaced values of the two latent dimensions.
    density : ndarray of shape (n1, n0)
        Exact posterior density on the grid; it integrates to 1.
    mean : ndarray of shape (2,), default=None
        Mean of the approximate posterior. None draws the exact one only.
    covariance : ndarray of shape (2, 2), default=None
        Covariance of the approximate posterior.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes drawn into, after ``plot``.
    figure_ : matplotlib Figure
        The figure that contains ``ax_``.

    Examples
    --------
    >>> import numpy as np
    >>> from skdgm.display import PosteriorDisplay
    >>> z = np.linspace(-5, 5, 101)
    >>> log_joint = -0.5 * (z**2 + z[:, None] ** 2)
    >>> moments = {"mean": [0.0, 0.0], "covariance": [[1.0, 0.0], [0.0, 0.5]]}
    >>> display = PosteriorDisplay.from_log_density(z, z, log_joint, **moments)
    >>> round(display.divergence, 3)  # (0.5 - 1 - log 0.5) / 2
    0.097
    """

    def __init__(
        self,
        z0: NDArray[Any],
        z1: NDArray[Any],
        density: NDArray[Any],
        *,
        mean: NDArray[Any] | None = None,
        covariance: NDArray[Any] | None = None,
    ) -> None:
        self.z0 = z0
        self.z1 = z1
        self.density = density
        self.mean = mean
        self.covariance = covariance

    @property
    def divergence(self) -> float:
        """KL(q || p) of the approximate from the exact posterior in nats, by quadrature; NaN without the former."""
        if self.mean is None or self.covariance is None:
            return float("nan")
        off = np.stack(np.meshgrid(self.z0, self.z1), axis=-1) - self.mean
        squares = np.einsum("...i,ij,...j->...", off, np.linalg.inv(self.covariance), off)
        log_q = -0.5 * squares - np.log(2 * np.pi) - 0.5 * np.linalg.slogdet(self.covariance)[1]
        log_p = np.log(np.maximum(self.density, np.finfo(float).tiny))
        return float((np.exp(log_q) * (log_q - log_p)).sum() * _cell(self.z0, self.z1))

    @classmethod
    def from_log_density(
        cls,
        z0: ArrayLike,
        z1: ArrayLike,
        log_density: ArrayLike,
        *,
        mean: ArrayLike | None = None,
        covariance: ArrayLike | None = None,
        ax: Axes | None = None,
    ) -> Self:
        """Normalize the exact posterior on its grid, and draw both.

        Parameters
        ----------
        z0, z1 : array-like of shape (n0,) and (n1,)
            Evenly spaced values of the two latent dimensions, wide enough to hold all of the posterior.
        log_density : array-like of shape (n1, n0)
            log p(x, z) at (z0[j], z1[i]), up to a constant.
        mean : array-like of shape (2,), default=None
            Mean of the approximate posterior, as of ``posterior_moments``. None draws the exact one only.
        covariance : array-like of shape (2, 2), default=None
            Covariance of the approximate posterior.
        ax : matplotlib Axes, default=None
            Axes to draw into. None makes a figure.

        Returns
        -------
        display : PosteriorDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If the shapes do not fit, as for codes of more than two dimensions.
        """
        first, second = np.asarray(z0, dtype=float), np.asarray(z1, dtype=float)
        log_p = np.asarray(log_density, dtype=float)
        if log_p.shape != (len(second), len(first)):
            raise ValueError(
                f"log_density must be of shape (len(z1), len(z0)) = ({len(second)}, {len(first)}), got {log_p.shape}."
            )
        moments = {"mean": (mean, (2,)), "covariance": (covariance, (2, 2))}
        for name, (value, shape) in moments.items():
            if value is not None and np.shape(value) != shape:
                raise ValueError(
                    f"{name} must be of shape {shape}, got {np.shape(value)}. Pass that of one row, of a model with "
                    "two latent dimensions."
                )
        density = np.exp(log_p - log_p.max())
        density /= density.sum() * _cell(first, second)
        given = {name: None if value is None else np.asarray(value, float) for name, (value, _) in moments.items()}
        return cls(first, second, density, **given).plot(ax)

    def plot(self, ax: Axes | None = None) -> Self:
        """Draw the exact posterior filled, and the approximate one as ellipses.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw into. None makes a figure.

        Returns
        -------
        display : PosteriorDisplay
            The display itself, with ``ax_`` and ``figure_`` set.
        """
        ax = self._draw_open(ax, figsize=(4.0, 4.0))
        heights = [_height_around(self.density, share) for share in LEVELS]
        levels = np.unique([*heights, self.density.max() * 1.01])  # ties, if one point holds most of the probability
        ax.contourf(self.z0, self.z1, self.density, levels=levels, cmap="Blues", extend="neither")
        if self.mean is not None and self.covariance is not None:
            angles = np.linspace(0.0, 2 * np.pi, 100)
            circle = np.linalg.cholesky(self.covariance) @ np.stack([np.cos(angles), np.sin(angles)])
            for share in LEVELS:  # the squared radius of a 2-D normal is exponential
                outline = self.mean[:, None] + np.sqrt(-2 * np.log(1 - share)) * circle
                ax.plot(*outline, color=COLORS[3], linewidth=1.2)
        ax.set(aspect="equal")
        return self


def _cell(z0: NDArray[Any], z1: NDArray[Any]) -> float:
    """Area of a cell of the grid."""
    return float((z0[1] - z0[0]) * (z1[1] - z1[0]))


def _height_around(density: NDArray[Any], share: float) -> float:
    """Height of the contour that encloses a share of the probability."""
    heights = np.sort(density.ravel())[::-1]
    enclosed = np.cumsum(heights) / heights.sum()
    return float(heights[np.searchsorted(enclosed, share)])
