"""Plots of a model's quality: the bound over the epochs of a fit, bounds of layers, accuracies of several methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skdgm.display._axes import COLORS, GRAY, Display, legend_outside

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class LossCurveDisplay(Display):
    """The terms of the bound over the epochs of a fit.

    Parameters
    ----------
    history : mapping from str to array-like of shape (n_epochs,)
        The terms, in nats per row: ``bound``, ``reconstruction``, ``kl`` and the like.
    validation_scores : array-like of shape (n_scores,) or mapping from str to array-like, default=None
        The bound on the rows held out for early stopping, in nats per row; a mapping for several layers. None if none
        were held out.

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

    def __init__(
        self, history: Mapping[str, ArrayLike], *, validation_scores: ArrayLike | Mapping[str, ArrayLike] | None = None
    ) -> None:
        self.history = history
        self.validation_scores = validation_scores

    @classmethod
    def from_estimator(cls, estimator: Any, *, terms: Sequence[str] | None = None, ax: Axes | None = None) -> Self:
        """Draw the curves that a fit recorded.

        Parameters
        ----------
        estimator : fitted estimator
            With ``history_`` and ``validation_scores_``, such as VAE. The layers of a StackedAutoencoder get curves of
            their own.
        terms : sequence of str, default=None
            Names in ``history_`` of the terms to draw, such as ``["bound", "kl"]``. None draws all.
        ax : matplotlib Axes, default=None
            Axes to draw into. None makes a figure.

        Returns
        -------
        display : LossCurveDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If the estimator has no ``history_``, or if that has no such term.
        """
        cls._check_has(estimator, "history_", "validation_scores_")
        history, validation = estimator.history_, estimator.validation_scores_
        if not isinstance(history, Mapping):
            history = {f"layer {k + 1}, {name}": v for k, layer in enumerate(history) for name, v in layer.items()}
            validation = validation and {f"layer {k + 1}, validation": v for k, v in enumerate(validation)}
        return cls(_chosen_terms(history, terms), validation_scores=validation).plot(ax)

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
        ax = self._draw_open(ax, figsize=(7.0, 3.8))
        for k, (name, values) in enumerate(self.history.items()):
            style = "-" if k < len(COLORS) else "-."
            ax.plot(_epochs(values), values, style, color=COLORS[k % len(COLORS)], label=name)
        held_out = self.validation_scores
        curves = {} if held_out is None else held_out if isinstance(held_out, Mapping) else {"validation": held_out}
        for name, values in curves.items():
            ax.plot(_epochs(values), values, "k--", linewidth=1.2, label=name)
        ax.set(xlabel="epoch", ylabel="nats per row")
        legend_outside(ax)
        return self


class LayerBoundsDisplay(Display):
    """What a layer promises before the next one exists: bounds on the log-likelihood that a stack on it can reach.

    A line reaches from the lower bound, with the codes of the rows themselves as the distribution of the codes, to the
    upper bound, which holds whatever layers come above.

    Parameters
    ----------
    names : sequence of str
        The layers, from top to bottom.
    bounds : sequence of LayerBounds
        As returned by ``StackedAutoencoder.latent_marginal_bound``: objects with ``q_lower_bound``,
        ``q_lower_bound_std``, and ``upper_bound`` (None if unknown), in nats per row.
    log_likelihoods : sequence of float, default=None
        Log-likelihoods in nats per row that stacks on these layers reached. None draws none.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes drawn into, after ``plot``.
    figure_ : matplotlib Figure
        The figure that contains ``ax_``.

    References
    ----------
    Arnold, Ollivier: Layer-wise learning of deep generative models, 2012, arXiv 1212.1524.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skdgm import StackedAutoencoder
    >>> from skdgm.display import LayerBoundsDisplay
    >>> X = (load_digits().data > 7).astype(float)
    >>> bounds = [
    ...     StackedAutoencoder((n, 5), stop_after=1, max_iter=5, random_state=0).fit(X).latent_marginal_bound(X)
    ...     for n in (8, 4)
    ... ]
    >>> display = LayerBoundsDisplay.from_bounds(["8 units", "4 units"], bounds)
    >>> [tick.get_text() for tick in display.ax_.get_yticklabels()]
    ['8 units', '4 units']
    """

    def __init__(
        self,
        names: Sequence[str],
        bounds: Sequence[Any],
        *,
        log_likelihoods: Sequence[float] | None = None,
    ) -> None:
        self.names = names
        self.bounds = bounds
        self.log_likelihoods = log_likelihoods

    @classmethod
    def from_estimator(cls, estimator: Any, X: ArrayLike | None = None, *, ax: Axes | None = None) -> Self:
        """Draw the bounds of the layers of a stack.

        Each layer is judged by the codes of the layer below, so only the first one's bounds are about rows of X.

        Parameters
        ----------
        estimator : fitted StackedAutoencoder
            With ``layer_bounds_``, ``n_components_`` and ``latent_marginal_bound``.
        X : array-like of shape (n_samples, n_features), default=None
            Rows to compute the bounds on, such as held-out ones. None takes those of ``fit`` on training rows.
        ax : matplotlib Axes, default=None
            Axes to draw into. None makes a figure.

        Returns
        -------
        display : LayerBoundsDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If the estimator has no ``layer_bounds_``.
        """
        cls._check_has(estimator, "layer_bounds_", "n_components_")
        bounds = estimator.layer_bounds_
        if X is not None:
            bounds = [estimator.latent_marginal_bound(X, layer=k) for k in range(len(bounds))]
        names = [f"layer {k + 1}: {n} units" for k, n in enumerate(estimator.n_components_)]
        return cls.from_bounds(names, bounds, ax=ax)

    @classmethod
    def from_bounds(
        cls,
        names: Sequence[str],
        bounds: Sequence[Any],
        *,
        log_likelihoods: Sequence[float] | None = None,
        ax: Axes | None = None,
    ) -> Self:
        """Draw bounds of layers, for example of several candidates for the lowest layer.

        Parameters
        ----------
        names : sequence of str
            The layers, from top to bottom.
        bounds : sequence of LayerBounds
            As returned by ``latent_marginal_bound``, one per layer.
        log_likelihoods : sequence of float, default=None
            Log-likelihoods in nats per row that stacks on these layers reached. None draws none.
        ax : matplotlib Axes, default=None
            Axes to draw into. None makes a figure.

        Returns
        -------
        display : LayerBoundsDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If the three do not have the same length.
        """
        lengths = [len(names), len(bounds), len(names if log_likelihoods is None else log_likelihoods)]
        if len(set(lengths)) > 1:
            raise ValueError(
                f"names, bounds and log_likelihoods must have one entry per layer, got {lengths[0]}, {lengths[1]} and "
                f"{lengths[2]}."
            )
        return cls(names, bounds, log_likelihoods=log_likelihoods).plot(ax)

    def plot(self, ax: Axes | None = None) -> Self:
        """Draw a line per layer, from the lower to the upper bound.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw into. None makes a figure.

        Returns
        -------
        display : LayerBoundsDisplay
            The display itself, with ``ax_`` and ``figure_`` set.
        """
        rows = np.arange(len(self.names))
        ax = self._draw_open(ax, figsize=(6.5, 1.2 + 0.35 * len(rows)))
        lower = np.array([bound.q_lower_bound for bound in self.bounds])
        error = [bound.q_lower_bound_std for bound in self.bounds]
        upper = np.array([np.nan if bound.upper_bound is None else bound.upper_bound for bound in self.bounds])
        ax.hlines(rows, lower, upper, color=GRAY, linewidth=4)
        ax.errorbar(lower, rows, xerr=error, fmt="o", color=COLORS[0], capsize=2, label="lower bound ± standard error")
        ax.plot(upper, rows, "|", color=COLORS[3], markersize=12, markeredgewidth=2, label="upper bound")
        if self.log_likelihoods is not None:
            ax.plot(self.log_likelihoods, rows, "D", color=COLORS[6], markersize=5, label="log-likelihood of the stack")
        ax.set_yticks(rows, labels=list(self.names))
        ax.set(ylim=(len(rows) - 0.5, -0.5), xlabel="nats per row")
        legend_outside(ax)
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
    ['83.0 ± 1.0%', '91.0 ± 1.0%']
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
        ax = self._draw_open(ax, figsize=(7.0, 1.0 + 0.4 * n_methods))
        rows = range(n_methods)
        ax.barh(rows, mean, xerr=sd, height=0.7, color="#A9C8DE", capsize=3)
        ax.plot(self.scores, rows, ".", color=COLORS[0])
        for row in rows:
            spread = "" if sd is None else f" ± {100 * sd[row]:.1f}"
            ax.text(1.02, row, f"{100 * mean[row]:.1f}{spread}%", va="center", transform=ax.get_yaxis_transform())
        ax.set_yticks(rows, labels=list(self.names))
        ax.invert_yaxis()
        ax.set(xlim=(0.0, 1.0), xlabel="accuracy")
        return self


def _epochs(values: ArrayLike) -> NDArray[np.intp]:
    """Return 1, 2, ... for one value per epoch."""
    return np.arange(1, len(np.asarray(values)) + 1)


def _chosen_terms(history: Mapping[str, ArrayLike], terms: Sequence[str] | None) -> Mapping[str, ArrayLike]:
    """Return the terms with these names; None is all."""
    if terms is None:
        return history
    unknown = [name for name in terms if name not in history]
    if unknown:
        raise ValueError(f"history_ has no term {unknown[0]!r}. Choose terms among {list(history)}.")
    return {name: history[name] for name in terms}
