"""Deep generative models as scikit-learn estimators, on PyTorch."""

from skdgm.estimators.m1 import M1Classifier
from skdgm.estimators.m1m2 import M1M2Classifier
from skdgm.estimators.m2 import M2Classifier
from skdgm.estimators.transductive_svc import TransductiveSVC
from skdgm.estimators.vae import VAE

__version__ = "0.1.0.dev0"

__all__ = ["VAE", "M1Classifier", "M1M2Classifier", "M2Classifier", "TransductiveSVC"]
