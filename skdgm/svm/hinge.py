"""The hinge loss, with a sharp or a rounded corner, and its slope."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]


def hinge(margin: Floats, width: float) -> Floats:
    """max(0, 1 - margin), with a parabola as the corner within ``width`` of margin 1; shape of ``margin``."""
    if not width:
        return np.maximum(0, 1 - margin)
    return width * hinge_slope(margin, width) ** 2 + np.maximum(0, 1 - width - margin)


def hinge_slope(margin: Floats, width: float) -> Floats:
    """Minus the derivative of ``hinge``, between 0 and 1; it changes by at most 1 / (2 width) per unit of margin."""
    return np.clip((1 + width - margin) / (2 * width), 0, 1)
