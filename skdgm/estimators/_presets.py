"""Estimators with presets: sets of parameters that were measured on a kind of data, for all that matters by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Self

Presets = Mapping[str, Callable[[], dict[str, Any]]]

# Gray images as in MNIST; examples/replication/mnist_few_labels.py measures them, and doc/replication.md reports.
IMAGES_VAE = {
    "n_components": 50,
    "hidden_layer_sizes": (500, 500),
    "activation": "softplus",
    "likelihood": "bernoulli",
    "dynamic_binarization": False,
    "prior": "normal",
    "input_noise": None,
    "weight_prior": 1.0,
    "kl_warmup": 13,
    "learning_rate_init": 1.5e-3,
    "learning_rate": "linear",
    "batch_size": 250,
    "max_iter": 140,
    "n_iter_no_change": 10,
    "early_stopping": False,
}
IMAGES_M1M2 = {
    "n_components": 50,
    "hidden_layer_sizes": (500,),
    "activation": "relu",
    "likelihood": "gaussian_heteroscedastic",
    "passthrough": False,
    "active_threshold": 0.1,
    "resample_codes": True,
    "alpha": 0.1,
    "alpha_normalization": "paper",
    "class_prior": "uniform",
    "n_enumerated": 1,
    "weight_prior": 1.0,
    "kl_warmup": 0,
    "learning_rate_init": 3e-3,
    "learning_rate": "linear",
    "batch_size": 500,
    "max_iter": 300,
    "n_iter_no_change": 10,
    "early_stopping": False,
}
# Images of 0 and 1; examples/replication/mnist_fixed_nll.py measures them.
BINARY_IMAGES_DLGM = {
    "n_components": (50, 50),
    "hidden_layer_sizes": (200, 200),
    "activation": "relu",
    "posterior": "diagonal",
    "inference": "top_down",
    "likelihood": "bernoulli",
    "input_noise": "flip",
    "input_noise_level": 0.03,
    "code_noise": 0.0,
    "dynamic_binarization": False,
    "n_importance_samples_train": 5,
    "prior": "mixture",
    "n_prior_components": 100,
    "weight_prior": 1.0,
    "kl_warmup": 30,
    "learning_rate_init": 1.5e-3,
    "learning_rate": "linear",
    "batch_size": 200,
    "max_iter": 200,
    "n_iter_no_change": 10,
    "early_stopping": False,
    "n_importance_samples": 500,
    "n_refinement_steps": 100,
}
IMAGES_TSVM = {"class_ratio": "labeled", "C": 10.0, "C_unlabeled": 1.0}


class HasPresets:
    """Mixin of estimators that can be made from a preset."""

    _presets: ClassVar[Presets]

    @classmethod
    def from_preset(cls, name, **params) -> Self:
        """Make an estimator with parameters that were measured on a kind of data, in place of the defaults.

        :doc:`/replication` tells what each preset reached, and in which time. A preset names every parameter that it
        depends on, so that it stays as it is when defaults change.

        Parameters
        ----------
        name : str
            Name of the preset; the error for an unknown one lists those of this estimator.
        **params
            Further parameters, or other values than those of the preset, as in ``set_params``; ``encoder__max_iter`` is
            one of a nested estimator.

        Returns
        -------
        estimator
            It is not fitted.
        """
        if name not in cls._presets:
            raise ValueError(f"name must be one of {sorted(cls._presets)} for {cls.__name__}, got {name!r}.")
        made: Any = cls(**cls._presets[name]())
        return made.set_params(**params)
