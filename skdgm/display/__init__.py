"""Plots of what a model learned, in the style of scikit-learn's displays.

A class method (``from_data`` or ``from_estimator``) computes the numbers, the object keeps them, and ``plot`` draws
them into an axes and sets ``ax_`` and ``figure_``. Only ``plot`` needs matplotlib.
"""

from skdgm.display.curves import AccuracyBarDisplay, LossCurveDisplay
from skdgm.display.images import AnalogyDisplay, ConditionalSamplesDisplay, ImageGridDisplay
from skdgm.display.latent import LatentMapDisplay

__all__ = [
    "AccuracyBarDisplay",
    "AnalogyDisplay",
    "ConditionalSamplesDisplay",
    "ImageGridDisplay",
    "LatentMapDisplay",
    "LossCurveDisplay",
]
