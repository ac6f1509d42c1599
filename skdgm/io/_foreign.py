"""Objects of scikit-learn, SciPy, and NumPy in an estimator: skops writes and reads them, if their types are listed."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from io import BytesIO
from typing import Any
from zipfile import ZIP_STORED, ZipFile

import numpy as np

from skdgm.io._classes import CLASSES

# Types in estimators of scikit-learn that consist of Python objects and arrays only, and that skops does not trust on
# its own. Types in C are left out: arrays with wrong indices could make these read any memory.
_SKLEARN_TYPES = [
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.compose._column_transformer.make_column_selector",
    "sklearn.gaussian_process._gpc._BinaryGaussianProcessClassifierLaplace",
    "sklearn.gaussian_process.kernels.ConstantKernel",
    "sklearn.gaussian_process.kernels.Matern",
    "sklearn.gaussian_process.kernels.Product",
    "sklearn.gaussian_process.kernels.RBF",
    "sklearn.gaussian_process.kernels.Sum",
    "sklearn.gaussian_process.kernels.WhiteKernel",
    "sklearn.metrics._classification.accuracy_score",
    "sklearn.metrics._scorer._PassthroughScorer",
    "sklearn.metrics._scorer._Scorer",
    "sklearn.model_selection._split.KFold",
    "sklearn.model_selection._split.StratifiedKFold",
    "sklearn.multiclass._ConstantPredictor",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
    "sklearn.utils._bunch.Bunch",
]

TRUSTED_TYPES = [*(f"{one.__module__}.{one.__qualname__}" for one in CLASSES.values()), *_SKLEARN_TYPES]

PACKAGES = ("sklearn.", "scipy.", "numpy.")


def dumped(value: Any) -> np.ndarray:
    """Write an object in the format of skops, as bytes.

    Raises
    ------
    TypeError
        If it contains an object that is not of skdgm, scikit-learn, SciPy, or NumPy, or that skops cannot write.
    ImportError
        If skops is not installed.
    """
    skops = _skops(type(value).__name__)
    try:
        data = skops.dumps(value)
        others = [name for name in skops.get_untrusted_types(data=data) if not _is_known(name)]
    except RecursionError as error:
        raise TypeError(
            "skops cannot write it: it refers to itself, as requests of metadata (set_fit_request) do"
        ) from error
    except Exception as error:  # skops raises many kinds
        raise TypeError(f"skops cannot write it: {error}") from error
    if others:
        raise TypeError(f"its types are not of skdgm or scikit-learn: {', '.join(others)}")
    return np.frombuffer(data, np.uint8)


def _is_known(name: str) -> bool:
    return name in TRUSTED_TYPES or name.startswith(PACKAGES)


def loaded(data: np.ndarray, trusted: Iterable[str]) -> Any:
    """Read what ``dumped`` wrote; ``trusted`` names more types of scikit-learn that it may contain.

    Raises
    ------
    TypeError
        If it contains other types.
    """
    skops = _skops("an object")
    return skops.loads(data.tobytes(), trusted=[*TRUSTED_TYPES, *trusted])


def untrusted(data: np.ndarray, trusted: Iterable[str]) -> list[str]:
    """Return the types in what ``dumped`` wrote that must not be loaded.

    Raises
    ------
    ValueError
        If the archive would take more memory than it has bytes.
    """
    check_is_stored(data)
    known = {*TRUSTED_TYPES, *trusted}
    return [name for name in _skops("an object").get_untrusted_types(data=data.tobytes()) if name not in known]


def check_is_stored(data: np.ndarray) -> None:
    """Raise an error if an archive is compressed, which skops does not do: a few bytes could become any number."""
    with ZipFile(BytesIO(data.tobytes())) as archive:
        parts = archive.infolist()
    if any(part.compress_type != ZIP_STORED for part in parts) or sum(part.file_size for part in parts) > len(data):
        raise ValueError("an archive of skops whose parts are compressed or overlap")


def _skops(wanted: str) -> Any:
    try:
        return import_module("skops.io")
    except ImportError as error:
        raise ImportError(
            f"The estimator contains {wanted}, which is not of skdgm and needs skops: pip install 'skdgm[save]'."
        ) from error
