"""Plots of latent codes: a map of the rows, the KL of each dimension, a posterior beside the exact one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skdgm._labels import labels_of
from skdgm.display._axes import COLORS, GRAY, Display, color_and_marker, legend_outside

if TYPE_CHECKING:
    from matplotlib.axes import Axes

UNLABELED = "unlabeled"  # the name of the group of rows without a label
MAX_CLASSES = 30  # more different numbers are no classes
MANY_CLASSES = 7  # from here on, classes share colors, so their names stand on the map as well
BOX = {"boxstyle": "round,pad=0.15", "facecolor": "white", "alpha": 0.8, "linewidth": 0}


class LatentMapDisplay(Display):
    """A map of the codes in two dimensions, one color per class, or colored by a number.

    Parameters
    ----------
    codes : ndarray of shape (n_samples, 2)
        The position of each row.
    names : tuple of two str
        Names of the two axes.
    groups : mapping from str to ndarray of int
        For each class the rows of ``codes`` that belong to it, drawn in this order. The group named ``"unlabeled"``
        is drawn gray.
    values : ndarray of shape (n_samples,) or None, default=None
        A number for each row, shown by a color bar in place of the groups; rows without one, NaN, are drawn gray.
    values_name : str, default=""
        Name of the numbers.

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

    def __init__(
        self,
        codes: NDArray[Any],
        *,
        names: tuple[str, str],
        groups: Mapping[str, NDArray[np.intp]],
        values: NDArray[Any] | None = None,
        values_name: str = "",
    ) -> None:
        self.codes = codes
        self.names = names
        self.groups = groups
        self.values = values
        self.values_name = values_name

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: ArrayLike,
        y: ArrayLike | None = None,
        *,
        projection: str | Callable[[NDArray[Any]], ArrayLike] | None = "largest_sd",
        ax: Axes | None = None,
    ) -> Self:
        """Encode the rows of X and draw their codes.

        Parameters
        ----------
        estimator : fitted transformer
            With ``transform(X)``.
        X : array-like of shape (n_samples, n_features)
            The rows to place on the map.
        y : array-like of shape (n_samples,), default=None
            Their classes, or a number for each of them, such as a column of X. Unlabeled rows are drawn gray: those
            with the estimator's ``unlabeled_value`` (-1 if it has no such parameter), None, NaN, NaT or pandas.NA.
            Without y, all rows look alike.
        projection : {"largest_sd", "pca", "umap"}, callable or None, default="largest_sd"
            How to draw more than two dimensions; see ``from_codes``.
        ax : matplotlib Axes, default=None
            Axes to draw into. None makes a figure.

        Returns
        -------
        display : LatentMapDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If the estimator has no ``transform``, or as for ``from_codes``.
        ImportError
            For "umap" if umap-learn is not installed.
        """
        cls._check_has(estimator, "transform")
        codes = np.asarray(estimator.transform(X))
        prefix = type(estimator).__name__.lower()
        names = [f"{prefix}{k}" for k in range(codes.shape[1])]
        marker = getattr(estimator, "unlabeled_value", -1)
        return cls.from_codes(codes, y, names=names, projection=projection, unlabeled_value=marker, ax=ax)

    @classmethod
    def from_codes(
        cls,
        codes: ArrayLike,
        y: ArrayLike | None = None,
        *,
        names: Sequence[str] | None = None,
        projection: str | Callable[[NDArray[Any]], ArrayLike] | None = "largest_sd",
        unlabeled_value: Any = -1,
        ax: Axes | None = None,
    ) -> Self:
        """Draw codes.

        Parameters
        ----------
        codes : array-like of shape (n_samples, n_dimensions)
            The codes of the rows, of at least two dimensions.
        y : array-like of shape (n_samples,), default=None
            Classes of the rows; unlabeled rows are drawn gray. Fractions, and more than 30 different numbers, are
            colored by their value. Without y, all rows look alike.
        names : sequence of str, default=None
            Names of the dimensions. None numbers them.
        projection : {"largest_sd", "pca", "umap"}, callable or None, default="largest_sd"
            How to draw more than two dimensions. "largest_sd" draws the two with the largest standard deviation. "pca"
            draws the two directions in which the codes vary most; it keeps distances as far as two dimensions can.
            "umap" keeps neighbors together, while distances between groups mean little; it needs umap-learn. A
            callable, such as ``TSNE().fit_transform``, maps codes to an array of shape (n_samples, 2). None draws codes
            of exactly two dimensions as they are.
        unlabeled_value : int, float, str or None, default=-1
            Marks unlabeled rows in y, as None, NaN, NaT and pandas.NA do. If None, every row is labeled.
        ax : matplotlib Axes, default=None
            Axes to draw into. None makes a figure.

        Returns
        -------
        display : LatentMapDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If the codes have fewer than two dimensions, or more under ``projection=None``; if ``projection`` is
            unknown or does not return two columns; if y has another length, or mixes strings and numbers.
        ImportError
            For "umap" if umap-learn is not installed.
        """
        codes = np.asarray(codes)
        if codes.ndim != 2 or codes.shape[1] < 2:
            n_dimensions = codes.shape[1] if codes.ndim == 2 else codes.shape
            raise ValueError(f"A map needs two latent dimensions, got {n_dimensions}. Fit with n_components=2 or more.")
        names = [f"code {k}" for k in range(codes.shape[1])] if names is None else names
        positions, (first, second) = _projected(codes, names, projection)
        groups, values = _groups(y, len(codes), unlabeled_value)
        values_name = str(getattr(y, "name", None) or "")
        display = cls(positions, names=(first, second), groups=groups, values=values, values_name=values_name)
        return display.plot(ax)

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
        ax = self._draw_open(ax, figsize=(6.0, 5.0))
        ax.set(xlabel=self.names[0], ylabel=self.names[1])
        if self.values is None:
            self._draw_groups(ax)
        else:
            self._draw_values(ax, self.values)
        return self

    def _draw_values(self, ax: Axes, values: NDArray[Any]) -> None:
        """Color the rows by their numbers."""
        known, (x, y) = ~np.isnan(values), self.codes.T
        ax.scatter(x[~known], y[~known], s=10, color=GRAY, marker=".", lw=0, alpha=0.8, zorder=1)
        points = ax.scatter(x[known], y[known], s=16, c=values[known], lw=0, alpha=0.8, zorder=2)
        ax.figure.colorbar(points, ax=ax, label=self.values_name)

    def _draw_groups(self, ax: Axes) -> None:
        """Give each class a color, or a color and a marker."""
        classes = [name for name in self.groups if name != UNLABELED]
        for name, rows in self.groups.items():
            color, marker = (GRAY, ".") if name == UNLABELED else color_and_marker(classes.index(name))
            size, layer = (10, 1) if name == UNLABELED else (16, 2)
            x, y = self.codes[rows].T
            ax.scatter(x, y, s=size, color=color, marker=marker, lw=0, alpha=0.8, label=name, zorder=layer)
        if len(classes) > MANY_CLASSES:
            for name in classes:
                ax.annotate(
                    name,
                    np.median(self.codes[self.groups[name]], axis=0),
                    ha="center",
                    va="center",
                    weight="bold",
                    bbox=BOX,
                )
        if len(self.groups) > 1:
            legend_outside(ax, markerscale=1.8)


class LatentKLDisplay(Display):
    """What each latent dimension costs: the KL divergence of its posterior from the prior, in nats per row.

    A dimension is active if its posterior mean varies over the rows. The posterior of an inactive dimension is the
    prior, whatever the row: its KL is 0, and it says nothing.

    Parameters
    ----------
    kl : ndarray of shape (n_dimensions,)
        Mean over rows of KL(q(z_j | x) || p(z_j)), in nats. Its sum over dimensions is the KL term of the bound if the
        posterior is diagonal and the prior N(0, I). Correlations and the mixture of ``prior="mixture"`` change that
        term; p(z_j) is then the normal that has the mean and the variance of the rows' codes.
    active : ndarray of bool of shape (n_dimensions,)
        Which dimensions are active.
    names : sequence of str
        Names of the dimensions.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes drawn into, after ``plot``.
    figure_ : matplotlib Figure
        The figure that contains ``ax_``.

    References
    ----------
    Burda, Grosse, Salakhutdinov: Importance weighted autoencoders, ICLR 2016, arXiv 1509.00519.

    Examples
    --------
    >>> import numpy as np
    >>> from skdgm.display import LatentKLDisplay
    >>> mean = np.array([[1.0, 0.0], [-1.0, 0.0]])
    >>> covariance = np.array([np.diag([0.1, 1.0])] * 2)
    >>> display = LatentKLDisplay.from_moments(mean, covariance)
    >>> display.kl.round(2).tolist(), display.active.tolist()
    ([1.2, 0.0], [True, False])
    """

    def __init__(self, kl: NDArray[Any], *, active: NDArray[np.bool_], names: Sequence[str]) -> None:
        self.kl = kl
        self.active = active
        self.names = names

    @classmethod
    def from_estimator(cls, estimator: Any, X: ArrayLike, *, threshold: float = 0.01, ax: Axes | None = None) -> Self:
        """Draw the KL of each latent dimension over the rows of X.

        Parameters
        ----------
        estimator : fitted VAE or DLGM
            With ``posterior_moments(X)`` and ``get_feature_names_out()``.
        X : array-like of shape (n_samples, n_features)
            Rows to average over: the training rows, or others like them.
        threshold : float, default=0.01
            Variance of the posterior mean over the rows above which a dimension is active, as in ``active_units_``.
        ax : matplotlib Axes, default=None
            Axes to draw into. None makes a figure.

        Returns
        -------
        display : LatentKLDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If the estimator has no ``posterior_moments``, such as M1Classifier (pass its ``encoder_``).
        """
        cls._check_has(estimator, "posterior_moments", "get_feature_names_out")
        mean, covariance = estimator.posterior_moments(X)
        prior = _moments_of_rows(mean, covariance) if getattr(estimator, "prior", "normal") == "mixture" else (0.0, 1.0)
        names = [str(name) for name in estimator.get_feature_names_out()]
        return cls.from_moments(mean, covariance, prior=prior, names=names, threshold=threshold, ax=ax)

    @classmethod
    def from_moments(
        cls,
        mean: ArrayLike,
        covariance: ArrayLike,
        *,
        prior: tuple[ArrayLike, ArrayLike] = (0.0, 1.0),
        names: Sequence[str] | None = None,
        threshold: float = 0.01,
        ax: Axes | None = None,
    ) -> Self:
        """Draw the KL of normal posteriors.

        Parameters
        ----------
        mean : array-like of shape (n_samples, n_dimensions)
            Posterior means.
        covariance : array-like of shape (n_samples, n_dimensions, n_dimensions)
            Posterior covariances.
        prior : tuple of (mean, variance), default=(0.0, 1.0)
            Mean and variance of p(z_j): numbers, or arrays of shape (n_dimensions,).
        names : sequence of str, default=None
            Names of the dimensions. None numbers them.
        threshold : float, default=0.01
            Variance of the posterior mean over the rows above which a dimension is active.
        ax : matplotlib Axes, default=None
            Axes to draw into. None makes a figure.

        Returns
        -------
        display : LatentKLDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If the two shapes do not fit.
        """
        means, covariances = np.asarray(mean, dtype=float), np.asarray(covariance, dtype=float)
        if means.ndim != 2 or covariances.shape != (*means.shape, means.shape[-1]):
            raise ValueError(
                "mean and covariance must be of shapes (n_samples, n_dimensions) and (n_samples, n_dimensions, "
                f"n_dimensions), got {means.shape} and {covariances.shape}. Pass both of posterior_moments."
            )
        variances = np.diagonal(covariances, axis1=1, axis2=2)
        center, scale = (np.asarray(moment, dtype=float) for moment in prior)
        ratios = variances / scale
        kl = 0.5 * ((means - center) ** 2 / scale + ratios - 1.0 - np.log(ratios)).mean(axis=0)
        active = means.var(axis=0) > threshold
        return cls(kl, active=active, names=[str(k) for k in range(len(kl))] if names is None else names).plot(ax)

    def plot(self, ax: Axes | None = None) -> Self:
        """Draw a bar per dimension, from the largest KL to the smallest.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw into. None makes a figure.

        Returns
        -------
        display : LatentKLDisplay
            The display itself, with ``ax_`` and ``figure_`` set.
        """
        ax = self._draw_open(ax, figsize=(6.5, 3.5))
        order = np.argsort(-self.kl, kind="stable")
        for label, color, wanted in (("active", COLORS[0], True), ("inactive", GRAY, False)):
            places = np.flatnonzero(self.active[order] == wanted)
            ax.bar(places, self.kl[order[places]], color=color)
            ax.plot([], [], "s", color=color, label=f"{label}: {len(places)}")  # a bar of no place has no color
        ax.set_xticks(range(len(order)), labels=[self.names[k] for k in order], rotation=90 if len(order) > 8 else 0)
        ax.set(ylabel="KL from the prior, nats per row", xlim=(-0.7, len(order) - 0.3))
        ax.legend(frameon=False, loc="upper right")
        return self


def _projected(
    codes: NDArray[Any], names: Sequence[str], projection: str | Callable[[NDArray[Any]], ArrayLike] | None
) -> tuple[NDArray[Any], tuple[str, str]]:
    """Return positions of shape (n, 2), and the names of the two axes."""
    n_dimensions = codes.shape[1]
    if projection is None and n_dimensions != 2:
        raise ValueError(
            f"projection=None draws codes of two dimensions as they are, got {n_dimensions}. Use "
            "projection='pca', 'largest_sd' or 'umap', or fit with n_components=2."
        )
    if projection is None or projection == "largest_sd":
        first, second = np.sort(np.argsort(-codes.std(axis=0), kind="stable")[:2])
        return codes[:, [first, second]], (names[first], names[second])
    if projection == "pca":
        return _principal_components(codes)
    if projection == "umap":
        return _umap(codes), ("UMAP 1", "UMAP 2")
    if not callable(projection):
        raise ValueError(f"projection must be 'largest_sd', 'pca', 'umap', a callable or None, got {projection!r}.")
    positions = np.asarray(projection(codes))
    if positions.shape != (len(codes), 2):
        raise ValueError(f"projection must return an array of shape ({len(codes)}, 2), got {positions.shape}.")
    return positions, ("projection 1", "projection 2")


def _principal_components(codes: NDArray[Any]) -> tuple[NDArray[Any], tuple[str, str]]:
    """Project codes to the two directions of largest variance; the names say which share of it they hold."""
    if len(codes) < 2:
        raise ValueError("projection='pca' needs at least two rows, got one. Use projection='largest_sd'.")
    centered = codes - codes.mean(axis=0)
    left, singular_values, _ = np.linalg.svd(centered, full_matrices=False)
    share = 100 * singular_values**2 / max((singular_values**2).sum(), np.finfo(float).tiny)
    first, second = (f"PC {k + 1} ({share[k]:.0f}% of the variance)" for k in (0, 1))
    return left[:, :2] * singular_values[:2], (first, second)


def _umap(codes: NDArray[Any]) -> NDArray[Any]:
    try:
        umap = import_module("umap")  # by name: it is optional
    except ImportError as error:
        raise ImportError(
            "projection='umap' needs umap-learn: pip install umap-learn. projection='pca' does without."
        ) from error
    return np.asarray(umap.UMAP(random_state=0, n_jobs=1).fit_transform(codes))


def _groups(
    y: ArrayLike | None, n_samples: int, unlabeled_value: Any
) -> tuple[dict[str, NDArray[np.intp]], NDArray[Any] | None]:
    """Return the rows of each class by the name of the class, unlabeled rows first; or none, and y as numbers."""
    if y is None:
        return {"all rows": np.arange(n_samples)}, None
    labeled, labels = labels_of(y, unlabeled_value)
    if len(labeled) != n_samples:
        raise ValueError(f"y must have a label, or the marker, for each of the {n_samples} rows, got {len(labeled)}.")
    rows, distinct = np.flatnonzero(labeled), np.unique(labels)
    if labels.dtype.kind in "iuf" and (len(distinct) > MAX_CLASSES or (distinct != np.rint(distinct)).any()):
        values = np.full(n_samples, np.nan)
        values[rows] = labels
        return {}, values
    unlabeled = {} if labeled.all() else {UNLABELED: np.flatnonzero(~labeled)}
    named = {str(label): rows[labels == label] for label in distinct}
    if UNLABELED in named:  # a class of this name
        named[f"{UNLABELED} (class)"] = named.pop(UNLABELED)
    return unlabeled | named, None


def _moments_of_rows(mean: NDArray[Any], covariance: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Mean and variance, by dimension, of the mean of q(z | x) over rows."""
    return mean.mean(axis=0), mean.var(axis=0) + np.diagonal(covariance, axis1=1, axis2=2).mean(axis=0)
