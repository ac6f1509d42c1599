"""State of estimators in files: the version that wrote it, and checks that refuse a damaged or altered state.

pickle, joblib, skops, and ``skdgm.load`` all pass a state to ``__setstate__``. It is checked there, and sizes are
compared before any memory is allocated for them.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar
from warnings import warn

import numpy as np
import sklearn.exceptions
import torch
from sklearn.base import BaseEstimator
from torch import Generator, nn
from torch.overrides import TorchFunctionMode

from skdgm._version import __version__
from skdgm.estimators._columns import ColumnTransform
from skdgm.estimators._options import available_device
from skdgm.estimators._tables import TableFormat
from skdgm.likelihoods import LIKELIHOODS

Weights = dict[str, np.ndarray]

VERSION = "_skdgm_version"
# What torch offers to make a tensor of a given size; ``skip_init`` makes layers by ``empty_like``.
FACTORIES = (torch.empty, torch.empty_like, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn)


class InconsistentVersionWarning(sklearn.exceptions.InconsistentVersionWarning):
    """An estimator was saved by another version of skdgm."""

    def __init__(self, estimator_name: str, original_version: str) -> None:
        self.estimator_name, self.original_version, self.current_version = estimator_name, original_version, __version__

    def __str__(self) -> str:
        return (
            f"{self.estimator_name} was saved by skdgm {self.original_version}, and this is version "
            f"{self.current_version}. Its results may be wrong. Fit it again, or install the version that saved it."
        )


class StateError(ValueError):
    """The state of an estimator is damaged or was altered."""

    def __init__(self, estimator: Any, found: str) -> None:
        super().__init__(
            f"The saved state of {type(estimator).__name__} is damaged or was altered: {found}. Open an intact copy of "
            "the file, or fit the estimator again."
        )


class VersionedState(BaseEstimator):
    """Base of all estimators: their state holds the version of skdgm, and is checked when it is loaded."""

    # What a fitted estimator cannot do without; it is fitted if it has the first of them.
    _needed_when_fitted: ClassVar[tuple[str, ...]]

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), VERSION: __version__}

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        found = state.pop(VERSION, "of an unknown version")
        if found != __version__:
            warn(InconsistentVersionWarning(type(self).__name__, str(found)), stacklevel=2)
        super().__setstate__(state)
        is_fitted = self._needed_when_fitted[0] in state
        self._check_has([*self._get_param_names(), *(self._needed_when_fitted if is_fitted else ())])
        if is_fitted:
            try:
                self._check_state()
            except StateError:
                raise
            except Exception as error:  # the parts are of any type
                reason = str(error).partition("\n")[0]
                raise StateError(self, f"it does not fit together ({type(error).__name__}: {reason})") from error

    def _check_has(self, names: list[str]) -> None:
        lacking = [name for name in names if not hasattr(self, name)]
        if lacking:
            raise StateError(self, f"it lacks {', '.join(lacking)}")

    def _check_state(self) -> None:
        """Raise a StateError if fitted attributes contradict each other."""


class ModuleState(VersionedState):
    """Base of the estimators with a module: their state holds its weights as NumPy arrays, no torch object, no device.

    ``_build`` makes the module again. Before, a module of the same sizes is built without memory, so that weights of
    other sizes, or a size that would not fit into memory, are refused at once.
    """

    _needed_when_fitted: ClassVar[tuple[str, ...]] = (
        "module_",
        "n_features_in_",
        "likelihood_",
        "_architecture",
        "_columns",
        "_format",
        "_noise_seed",
    )

    module_: Any
    device: str
    device_: str
    n_features_in_: int
    _architecture: dict[str, Any]
    _columns: ColumnTransform
    _format: TableFormat

    @abstractmethod
    def _build(self, architecture: dict[str, Any], rng: Generator | None) -> nn.Module:
        """Build the module from plain values; called in ``fit`` and when a state is loaded."""

    @property
    def _n_columns_of_module(self) -> int:
        """Number of columns that the module generates."""
        return len(self._columns.kinds)

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        if "module_" in state:
            state["module_"] = {name: value.cpu().numpy() for name, value in self.module_.state_dict().items()}
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if "module_" in state:
            self.device_ = available_device(self.device)
            module = self._build(self._architecture, Generator())  # not the global generator; its draws are overwritten
            module.load_state_dict({name: torch.tensor(value) for name, value in state["module_"].items()})
            self.module_ = module.to(self.device_).eval().requires_grad_(False)

    def _check_state(self) -> None:
        super()._check_state()
        self._check_columns()
        self._check_sizes()
        with WithoutMemory():
            module = self._build(self._architecture, None)
        self._check_weights(module)

    def _check_columns(self) -> None:
        """Raise an error unless every column is described, with a finite, positive scale."""
        columns, n_columns = self._columns, self.n_features_in_
        if not isinstance(columns, ColumnTransform) or not isinstance(self._format, TableFormat):
            raise StateError(self, "its columns are not described")
        lists = (columns.kinds, columns.reasons, columns.arguments, self._format.columns)
        arrays = (columns.is_auto, columns.center, columns.scale, columns.outlier_limit, columns.is_number)
        if {len(one) for one in lists} | {np.shape(one) for one in arrays} != {n_columns, (n_columns,)}:
            raise StateError(self, f"it has {n_columns} columns, but describes another number of them")
        if not set(columns.kinds) <= set(LIKELIHOODS):
            raise StateError(self, f"it has the likelihoods {sorted(set(columns.kinds))}, which are not all known")
        if not (np.isfinite(columns.center).all() and np.isfinite(columns.scale).all() and (columns.scale > 0).all()):
            raise StateError(self, "the scales of its columns are not finite and positive")

    def _check_sizes(self) -> None:
        """Raise an error if the module has other columns or classes, or more columns than weights."""
        architecture = self._architecture
        n_weights = sum(np.size(array) for array in self.module_.values())
        parts = architecture.get("layers", [architecture])
        n_columns = [part.get("n_columns", 0) for part in parts]
        if n_columns[:1] != [self._n_columns_of_module] or max(n_columns) > n_weights:
            raise StateError(self, f"its module is one of {n_columns} columns, which does not fit the rest of it")
        if "class_prior" in architecture:
            self._check_classes(len(architecture["class_prior"]))

    def _check_classes(self, n_classes: int) -> None:
        classes: Any = getattr(self, "classes_", None)
        if np.shape(classes) != (n_classes,):
            raise StateError(self, f"its module has {n_classes} classes, but classes_ is {classes!r}")

    def _check_weights(self, module: nn.Module) -> None:
        """Compare the weights with a module that has sizes only, and raise an error if they are not finite."""
        weights, expected = self.module_, module.state_dict()
        if weights.keys() != expected.keys():
            raise StateError(self, f"its weights have other names: {sorted(weights.keys() ^ expected.keys())[:3]}")
        parameters = {name for name, _ in module.named_parameters()}
        for name, tensor in expected.items():
            array, dtype = weights[name], str(tensor.dtype).removeprefix("torch.")
            if not isinstance(array, np.ndarray) or (array.shape, str(array.dtype)) != (tuple(tensor.shape), dtype):
                raise StateError(self, f"the weights {name!r} are not an array of {dtype} of {tuple(tensor.shape)}")
            # the logarithm of the share of a class may be -inf
            if not (np.isfinite(array) | ((name not in parameters) & (array == -np.inf))).all():
                raise StateError(self, f"the weights {name!r} are not finite")


def check_same_classes(classifier: Any, inner: Any, *, are_indices: bool = False) -> None:
    """Raise a StateError unless the inner estimator has the classes of a classifier, or their indices."""
    known = classifier.classes_
    if np.ndim(known) != 1:
        raise StateError(classifier, f"classes_ is {known!r}")
    known = np.arange(len(known)) if are_indices else known
    found = getattr(inner, "classes_", known)
    if not np.array_equal(found, known):
        raise StateError(classifier, f"its classes are {known.tolist()}, those of its inner estimator {found!r}")


class WithoutMemory(TorchFunctionMode):
    """Within the body, new tensors of a given size have this size only. Those made of given numbers have memory."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if function in FACTORIES:
            kwargs.pop("generator", None)
            kwargs["device"] = "meta"
        return function(*args, **kwargs)
