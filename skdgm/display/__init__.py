"""Plots of what a model learned, in the style of scikit-learn's displays.

A class method (``from_data`` or ``from_estimator``) computes the numbers, the object keeps them, and ``plot`` draws
them into an axes and sets ``ax_`` and ``figure_``. Only ``plot`` needs matplotlib.
"""

from skdgm.display.curves import AccuracyBarDisplay, LayerBoundsDisplay, LossCurveDisplay
from skdgm.display.decoded import AnalogyDisplay, ConditionalSamplesDisplay, ManifoldDisplay
from skdgm.display.images import ImageGridDisplay, ReconstructionDisplay
from skdgm.display.imputation import ImputationChainDisplay, ImputationDisplay
from skdgm.display.latent import LatentKLDisplay, LatentMapDisplay
from skdgm.display.posterior import PosteriorDisplay
from skdgm.display.scores import DensityHistogramDisplay, ReliabilityDisplay
from skdgm.display.tables import PairPlotDisplay

__all__ = [
    "AccuracyBarDisplay",
    "AnalogyDisplay",
    "ConditionalSamplesDisplay",
    "DensityHistogramDisplay",
    "ImageGridDisplay",
    "ImputationChainDisplay",
    "ImputationDisplay",
    "LatentKLDisplay",
    "LatentMapDisplay",
    "LayerBoundsDisplay",
    "LossCurveDisplay",
    "ManifoldDisplay",
    "PairPlotDisplay",
    "PosteriorDisplay",
    "ReconstructionDisplay",
    "ReliabilityDisplay",
]
