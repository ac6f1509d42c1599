"""Callbacks that log the bound of every epoch, for scikit-learn's callback API (scikit-learn 1.9 or newer).

Each needs its own library, which is imported when a fit begins.
"""

from skdgm.callbacks.mlflow import MLflowCallback
from skdgm.callbacks.tensorboard import TensorBoardCallback
from skdgm.callbacks.wandb import WandbCallback

__all__ = ["MLflowCallback", "TensorBoardCallback", "WandbCallback"]
