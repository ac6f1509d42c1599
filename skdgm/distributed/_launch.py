"""Start processes that fit an estimator together, for those who do not start their script with torchrun."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from numbers import Integral
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import numpy as np

from skdgm._labels import as_column

Estimator = TypeVar("Estimator")


def fit(estimator: Estimator, X: Any, y: Any = None, *, n_processes: int) -> Estimator:
    """Fit an estimator by several processes on this machine, each with its shard of the rows.

    torchrun starts the processes. Each of them reads only its own rows of a file, so a table in a file never has to be
    in memory. The fit is that of one process on all rows up to the order of rows and the noise of training.

    Parameters
    ----------
    estimator : estimator of skdgm
    X : array-like, frame, memmap or ParquetReader of shape (n_samples, n_features), or str or Path
        A path is that of a ``.npy`` file, or of a Parquet file or a folder of Parquet files. Arrays and frames are
        written to a temporary file; memmaps and Parquet files are read where they are.
    y : array-like of shape (n_samples,) or None, default=None
        Labels, for classifiers.
    n_processes : int
        Number of processes, at least 1. More of them than processor cores, or GPUs, do not make a fit faster.

    Returns
    -------
    estimator : estimator
        The same object, fitted.

    Raises
    ------
    Exception
        The error of the first process that failed. The estimator is then left unchanged.
    ValueError
        If ``n_processes`` is not a positive integer, or there are fewer rows than processes.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skdgm import VAE, distributed
    >>> X = load_digits().data.astype("float32") / 16
    >>> vae = VAE(n_components=5, hidden_layer_sizes=(32,), max_iter=2, random_state=0)
    >>> distributed.fit(vae, X, n_processes=2).transform(X).shape  # doctest: +SKIP
    (1797, 5)
    """
    if not isinstance(n_processes, Integral) or isinstance(n_processes, bool) or n_processes < 1:
        raise ValueError(f"n_processes must be an int >= 1, got {n_processes!r}. Use for example 2.")
    with TemporaryDirectory(prefix="skdgm-") as name:
        folder = Path(name)
        job = {"estimator": estimator, "X": described(X, folder), "y": None if y is None else as_column(y)}
        (folder / "job.pickle").write_bytes(pickle.dumps(job))
        done = run(folder, int(n_processes))
        raise_first_error(folder)
        print(done.stderr, end="", file=sys.stderr)  # warnings; after an error, torchrun's own report says no more
        if done.returncode:
            raise RuntimeError(
                f"the processes ended with code {done.returncode} and without an error of their own: the system may "
                "have killed one of them, for instance because memory ran out. Use fewer processes."
            )
        fitted = pickle.loads((folder / "fitted.pickle").read_bytes())
    for name in [name for name in vars(estimator) if name.endswith("_") and not hasattr(fitted, name)]:
        delattr(estimator, name)  # of an earlier fit, such as the names of columns
    vars(estimator).update(vars(fitted))
    return estimator


def described(X: Any, folder: Path) -> dict[str, Any]:
    """Return how processes open the table; arrays are written into the folder."""
    if isinstance(X, str | Path):
        if not Path(X).exists():
            raise FileNotFoundError(f"X names {str(X)!r}, which does not exist. Pass the path of a table.")
        return {"path": str(Path(X).absolute())}
    is_file = isinstance(X, np.memmap) and X.filename is not None and X.mode != "c"  # changes of a copy are not in it
    if is_file and not isinstance(X.base, np.memmap):  # not a view of one
        order = "C" if X.flags.c_contiguous else "F"
        return {"path": str(X.filename), "dtype": X.dtype, "offset": X.offset, "shape": X.shape, "order": order}
    if not isinstance(X, np.ndarray) or X.dtype == object or isinstance(X, np.ma.MaskedArray):
        return {"table": np.asarray(X) if isinstance(X, list | tuple) else X}
    np.save(folder / "X.npy", X)
    return {"path": str(folder / "X.npy")}


def run(folder: Path, n_processes: int) -> subprocess.CompletedProcess[str]:
    """Run torchrun until all processes have ended."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={n_processes}"]
    environment = dict(os.environ)
    environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // n_processes)))
    environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    script = Path(__file__).parent / "_worker.py"
    return subprocess.run(
        [*command, str(script), str(folder)], env=environment, stderr=subprocess.PIPE, text=True, check=False
    )


def raise_first_error(folder: Path) -> None:
    """Raise the error of the first process that failed by itself, not only because another one did."""
    errors = sorted(folder.glob("error-*.pickle"), key=lambda path: path.stat().st_mtime_ns)
    found = [pickle.loads(path.read_bytes()) for path in errors]
    own = [error for error in found if type(error).__name__ != "ProcessError"] or found
    if own:
        raise own[0]
