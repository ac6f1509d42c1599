"""Deep generative models as scikit-learn estimators, on PyTorch.

Estimators, ``save``, and ``load`` are imported on first access, so ``skdgm.datasets`` and ``skdgm.model_selection`` do
not import torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from skdgm._version import __version__ as __version__

if TYPE_CHECKING:
    from skdgm.checkpoints import Checkpoint
    from skdgm.estimators.adgm import ADGMClassifier
    from skdgm.estimators.deep_imputer import DeepImputer
    from skdgm.estimators.dlgm import DLGM
    from skdgm.estimators.m1 import M1Classifier
    from skdgm.estimators.m1m2 import M1M2Classifier
    from skdgm.estimators.m2 import M2Classifier
    from skdgm.estimators.semi_supervised_meta import SemiSupervisedMetaClassifier
    from skdgm.estimators.stacked_autoencoder import StackedAutoencoder
    from skdgm.estimators.transductive_svc import TransductiveSVC
    from skdgm.estimators.vae import VAE
    from skdgm.io import load, save

__all__ = [
    "DLGM",
    "VAE",
    "ADGMClassifier",
    "Checkpoint",
    "DeepImputer",
    "M1Classifier",
    "M1M2Classifier",
    "M2Classifier",
    "SemiSupervisedMetaClassifier",
    "StackedAutoencoder",
    "TransductiveSVC",
    "load",
    "save",
]

_MODULES = {
    "ADGMClassifier": "estimators.adgm",
    "Checkpoint": "checkpoints",
    "DLGM": "estimators.dlgm",
    "DeepImputer": "estimators.deep_imputer",
    "VAE": "estimators.vae",
    "M1Classifier": "estimators.m1",
    "M1M2Classifier": "estimators.m1m2",
    "M2Classifier": "estimators.m2",
    "SemiSupervisedMetaClassifier": "estimators.semi_supervised_meta",
    "StackedAutoencoder": "estimators.stacked_autoencoder",
    "TransductiveSVC": "estimators.transductive_svc",
    "load": "io",
    "save": "io",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'skdgm' has no attribute {name!r}")
    globals()[name] = getattr(import_module(f"skdgm.{_MODULES[name]}"), name)
    return globals()[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
