"""Base class of the displays: draw into given axes or into a new figure. Only this file imports matplotlib."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure


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
