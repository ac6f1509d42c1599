"""Networks that return distributions, and the layers next to the columns that users can choose or build.

``MLP`` maps one or two inputs to outputs; the three ``...Network`` classes put a distribution on top of it. Inputs
broadcast against each other after the first layer: a network of (x, y) can evaluate every class for every row and
compute the part of x only once. Weights are initialized from a given generator; the global one is neither read nor set.
``COVARIANCES`` names the kinds of covariance of a normal network.

``Convolutional`` and ``Residual`` build the layer of an MLP that reads the columns, or writes them; so does a user's
function of ``Sizes``. These three are public; the other names are for the models.
"""

from skdgm.networks.column_layers import NETWORKS as NETWORKS
from skdgm.networks.column_layers import ColumnLayers as ColumnLayers
from skdgm.networks.conditional import CategoricalNetwork as CategoricalNetwork
from skdgm.networks.conditional import DecoderNetwork as DecoderNetwork
from skdgm.networks.conditional import NormalNetwork as NormalNetwork
from skdgm.networks.convolutional import Convolutional
from skdgm.networks.covariances import COVARIANCES as COVARIANCES
from skdgm.networks.kernel_features import KernelFeatures as KernelFeatures
from skdgm.networks.mlp import ACTIVATIONS as ACTIVATIONS
from skdgm.networks.mlp import MLP as MLP
from skdgm.networks.mlp import Affine as Affine
from skdgm.networks.mlp import ClassAffine as ClassAffine
from skdgm.networks.residual import Residual
from skdgm.networks.sizes import Sizes

__all__ = ["Convolutional", "Residual", "Sizes"]
