"""One file per estimator: a safetensors file, with JSON in its metadata that describes the estimator."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
import torch
from sklearn.base import BaseEstimator

from skdgm._version import __version__
from skdgm.estimators._options import resolve_device
from skdgm.estimators._state import StateError
from skdgm.files import (
    Arrays,
    DamagedFileError,
    Document,
    ForeignFileError,
    checked_document,
    read_file,
    write_file,
)
from skdgm.io._plain import Reader, UnsavableError, UntrustedError, Writer

# Number of the format, and for each older one a function that turns its document into one of the next number.
FORMAT = 1
MIGRATIONS: dict[int, Callable[[Document], Document]] = {}

KEY = "skdgm"  # in the metadata of the file: JSON of the format, the checksum, and the document
MAX_SHOWN = 200  # characters of a value in a message
PLAIN = (type(None), bool, int, float, str)


def save(estimator: BaseEstimator, path: str | os.PathLike[str], *, without: Iterable[str] = ()) -> None:
    """Save an estimator, fitted or not, to a file from which it can be loaded without pickle.

    The file is written to a temporary name and renamed: it is whole, or what stood there before is left as it is. It is
    a safetensors file, whose usual name ends in ".safetensors".

    Parameters
    ----------
    estimator : estimator
        One of skdgm, or one of scikit-learn, such as a Pipeline, that contains some. Estimators of scikit-learn need
        skops; the default ``M1Classifier`` and ``TransductiveSVC`` contain some.
    path : str or path
        The file; it is replaced if it exists.
    without : iterable of str, default=()
        Parameters to leave out because no file can hold them, for example a function, by name as in ``get_params``.
        ``load`` needs their values again.

    Raises
    ------
    TypeError
        If the estimator has a parameter or an attribute that cannot be saved: a function, a callback, an object of
        another library.
    ValueError
        If ``without`` names no parameter, or one that can be saved.
    FileNotFoundError
        If the folder does not exist.
    ImportError
        If safetensors, or skops where it is needed, is not installed: ``pip install 'skdgm[save]'``.

    See Also
    --------
    load : Load it again.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> import skdgm
    >>> X = np.random.default_rng(0).normal(size=(60, 3))
    >>> vae = skdgm.VAE(n_components=2, max_iter=2, random_state=0).fit(X)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "vae.safetensors"
    ...     skdgm.save(vae, path)
    ...     copy = skdgm.load(path)
    >>> np.array_equal(copy.transform(X), vae.transform(X))
    True
    """
    if not isinstance(estimator, BaseEstimator):
        raise TypeError(f"save needs an estimator, got {type(estimator).__name__}.")
    _check_folder(path)
    left_out = _left_out(estimator, without)
    writer = Writer(left_out)
    try:
        plain = writer.write(estimator)
    except UnsavableError as error:
        raise TypeError(_unsavable(estimator, error)) from error
    document = {
        "skdgm": __version__,
        "libraries": {library.__name__: library.__version__ for library in (np, sklearn, torch)},
        "without": sorted(left_out),
        "estimator": plain,
    }
    write_file(path, KEY, FORMAT, document, writer.arrays)


def load(
    path: str | os.PathLike[str],
    *,
    params: Mapping[str, Any] | None = None,
    device: str | None = None,
    trusted: Sequence[str] = (),
) -> Any:
    """Load an estimator that ``save`` wrote. No code of the file is run: it can only name classes of a fixed list.

    A checksum finds damaged files. It does not tell who wrote a file: who can write a file can also make a model that
    answers wrongly.

    Parameters
    ----------
    path : str or path
    params : mapping of str to object or None, default=None
        Values of the parameters that were left out by ``without``.
    device : str or None, default=None
        Device for all estimators of skdgm in the file that are not inside of one of scikit-learn; it becomes their
        parameter ``device``. None keeps this parameter; a device that is not available is then replaced by the CPU.
    trusted : sequence of str, default=()
        Names of more types of scikit-learn that the file may contain. Decision trees, for example, are arrays of
        indices that scikit-learn does not check: a crafted file can crash Python. The message of the error has the
        names; give them if you know where the file comes from.

    Returns
    -------
    estimator
        It answers with the same bits on the same machine and versions.

    Raises
    ------
    ValueError
        If the file is truncated, damaged, of another program, or of a newer version of skdgm; if ``params`` are not
        those that were left out; or if ``device`` is not available. There is never a half-loaded estimator.
    TypeError
        If the file contains types that are not trusted.
    FileNotFoundError
        If there is no such file.

    Warns
    -----
    InconsistentVersionWarning
        If another version of skdgm or scikit-learn saved the estimator.

    See Also
    --------
    save : Save an estimator.
    """
    device = None if device is None else resolve_device(device)
    _check_no_folder(path)
    document, arrays = _read(path)
    given, wanted = params or {}, document.get("without")
    if sorted(given) != wanted:
        raise ValueError(
            f"{os.fspath(path)!r} was saved without the parameters {wanted}, got params for {sorted(given)}. Pass a "
            "value for each of these, and for no other."
        )
    try:
        estimator = Reader(arrays, given, device, trusted).read(document["estimator"])
    except UntrustedError as error:
        raise TypeError(
            f"{os.fspath(path)!r} contains {error}. A crafted object of such a type can crash Python or worse. If you "
            f"know where the file comes from, use load(path, trusted={error.names!r})."
        ) from error
    except (StateError, ImportError):
        raise
    except Exception as error:  # a plain value may be anything
        raise ValueError(_damaged(path, f"{type(error).__name__}: {error}")) from error
    if not isinstance(estimator, BaseEstimator):
        raise ValueError(_damaged(path, "it contains no estimator"))
    return estimator


# --- save ------------------------------------------------------------------------------------------------------------


def _check_folder(path: str | os.PathLike[str]) -> None:
    folder = Path(path).parent
    if not folder.is_dir():
        raise FileNotFoundError(f"The folder {str(folder)!r} of {os.fspath(path)!r} does not exist. Make it first.")
    _check_no_folder(path)


def _check_no_folder(path: str | os.PathLike[str]) -> None:
    if Path(path).is_dir():
        raise IsADirectoryError(f"{os.fspath(path)!r} is a folder. Name a file in it.")


def _left_out(estimator: BaseEstimator, names: Iterable[str]) -> dict[str, Any]:
    """Return the parameters that are left out."""
    names = [names] if isinstance(names, str) else list(names)
    params = estimator.get_params(deep=True)
    unknown = [name for name in names if name not in params]
    if unknown:
        raise ValueError(f"without={names!r}: {type(estimator).__name__} has no parameter {unknown[0]!r}.")
    plain = [name for name in names if isinstance(params[name], PLAIN)]
    if plain:
        raise ValueError(
            f"without={names!r}: {plain[0]}={params[plain[0]]!r} can be saved. Leave out only what cannot be."
        )
    return {name: params[name] for name in names}


def _unsavable(estimator: BaseEstimator, error: UnsavableError) -> str:
    """Say which part of an estimator cannot be saved, why, and what to do."""
    parts = error.path.split(".")
    params = estimator.get_params(deep=True)
    names = ["__".join(parts[:n]) for n in range(len(parts), 0, -1)]
    name = next((name for name in names if name in params), None)
    way_out = "Pickle and joblib save it, but only files whose origin you trust may be opened with them."
    if "callback" in error.path:
        way_out = "Remove the callbacks before saving: estimator.set_callbacks()."
    elif name is not None and not isinstance(params[name], BaseEstimator):
        way_out = (
            f"Leave it out, save(estimator, path, without=[{name!r}]), and pass it again when you load, "
            f"load(path, params={{{name!r}: ...}})."
        )
    elif "categories" in parts:
        way_out = "Convert the labels of the column to text or numbers before fitting."
    value = repr(error.value)
    shown = value if len(value) <= MAX_SHOWN else f"{value[:MAX_SHOWN]}..."
    return f"{type(estimator).__name__} cannot be saved: {error.path or 'it'} is {shown}, and {error}. {way_out}"


# --- load ------------------------------------------------------------------------------------------------------------


def _read(path: str | os.PathLike[str]) -> tuple[Document, Arrays]:
    """Read a file and check it; return its document in the present format, and its arrays."""
    try:
        entry, arrays = read_file(path, KEY)
        _check_format(path, entry.get("format"))
        document = checked_document(entry, arrays)
    except ForeignFileError as error:
        raise ValueError(f"{os.fspath(path)!r} is a safetensors file, but not one that skdgm.save wrote.") from error
    except DamagedFileError as error:
        raise ValueError(_damaged(path, str(error))) from error
    try:
        return _migrated(document, entry["format"]), arrays
    except Exception as error:  # a document may be anything
        raise ValueError(_damaged(path, f"{type(error).__name__}: {error}")) from error


def _check_format(path: str | os.PathLike[str], number: Any) -> None:
    """Raise an error for the format of a newer version, and for one that is too old."""
    if isinstance(number, int) and number > FORMAT:
        raise ValueError(
            f"{os.fspath(path)!r} has format {number} of a newer version of skdgm; this version, {__version__}, reads "
            f"formats up to {FORMAT}. Update skdgm: pip install -U skdgm."
        )
    if number not in (FORMAT, *MIGRATIONS):
        raise ValueError(
            f"{os.fspath(path)!r} has format {number!r}, which this version of skdgm, {__version__}, does not read. "
            "Load it with the version that wrote it, or fit again."
        )


def _migrated(document: Document, number: int) -> Document:
    """Bring a document into the present format, one number after the other."""
    while number < FORMAT:
        document, number = MIGRATIONS[number](document), number + 1
    return document


def _damaged(path: str | os.PathLike[str], reason: str) -> str:
    return (
        f"{os.fspath(path)!r} is not an intact file of skdgm.save: {reason}. Copy or save it again. Files of pickle "
        "and joblib are opened by joblib.load, those of skops by skops.io.load."
    )
