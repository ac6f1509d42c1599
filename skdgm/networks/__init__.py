"""Networks that return distributions, and the layers next to the columns that users can choose or build.

``MLP`` maps one or two inputs to outputs; the three ``...Network`` classes put a distribution on top of it. Inputs
broadcast against each other after the first layer: a network of (x, y) can evaluate every class for every row and
compute the part of x only once. Weights are initialized from a given generator; the global one is neither read nor set.
``COVARIANCES`` names the kinds of covariance of a normal network.

``Convolutional`` and ``Residual`` build the layer of an MLP that reads the columns, or writes them; so does a user's
function of ``Sizes``.
"""

from skdgm.networks.column_layers import NETWORKS, ColumnLayers
from skdgm.networks.conditional import CategoricalNetwork, DecoderNetwork, NormalNetwork
from skdgm.networks.convolutional import Convolutional
from skdgm.networks.covariances import COVARIANCES
from skdgm.networks.kernel_features import KernelFeatures
from skdgm.networks.mlp import ACTIVATIONS, MLP, Affine, ClassAffine
from skdgm.networks.residual import Residual
from skdgm.networks.sizes import Sizes

__all__ = [
    "ACTIVATIONS",
    "COVARIANCES",
    "MLP",
    "NETWORKS",
    "Affine",
    "CategoricalNetwork",
    "ClassAffine",
    "ColumnLayers",
    "Convolutional",
    "DecoderNetwork",
    "KernelFeatures",
    "NormalNetwork",
    "Residual",
    "Sizes",
]
