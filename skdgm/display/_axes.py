"""Base class of the displays: draw into given axes or into a new figure. Only this file imports matplotlib.

Also here: the colors of all displays, and the check that an estimator has what a display reads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sklearn.exceptions import NotFittedError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

# Okabe and Ito's colors, which differ for every kind of color vision; without yellow, which is faint on white.
COLORS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000")
MARKERS = "os^Dv"  # with each marker the colors begin anew
GRAY = "#B8B8B8"


class Display:
    """Base class of all displays: keeps the axes that it was last drawn into."""

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

    def _draw_open(self, ax: Axes | None, figsize: tuple[float, float]) -> Axes:
        """Like ``_draw_into``, with lines at the left and at the bottom of the axes only."""
        ax = self._draw_into(ax, figsize)
        ax.spines[["top", "right"]].set_visible(False)
        return ax

    @classmethod
    def _check_has(cls, estimator: Any, *names: str) -> None:
        """Raise an error that says which of these methods and fitted attributes the estimator lacks."""
        lacking = [name for name in names if not hasattr(estimator, name)]
        if not lacking:
            return
        encoder, error = getattr(estimator, "encoder_", None), ValueError
        if all(hasattr(encoder, name) for name in names):
            way_out = "Pass its encoder_."
        elif all(name.endswith("_") for name in lacking):
            way_out, error = "Call fit first.", NotFittedError
        else:
            way_out = "Pass a fitted estimator that has them."
        raise error(
            f"{cls.__name__} needs {', '.join(names)}, but {type(estimator).__name__} has no {', '.join(lacking)}. "
            f"{way_out}"
        )


def color_and_marker(index: int) -> tuple[str, str]:
    """Return the color and the marker of the group with this number."""
    return COLORS[index % len(COLORS)], MARKERS[index // len(COLORS) % len(MARKERS)]


def legend_outside(ax: Axes, **options: Any) -> None:
    """Put the legend to the right of the axes, where it covers nothing."""
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, **options)
