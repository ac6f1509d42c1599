"""The script that torchrun runs in each process of ``skdgm.distributed.fit``: fit to the shard of this process."""

from __future__ import annotations

import os
import pickle
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.utils.validation import check_consistent_length

from skdgm._sklearn_compat import _safe_indexing
from skdgm.distributed._rows import shard
from skdgm.readers import ParquetReader, RowReader, Rows


def opened(table: Any = None, path: str = "", **layout: Any) -> Any:
    """Open a table, a file without reading its rows."""
    if not path:
        return Rows(table) if isinstance(table, RowReader) else table
    if layout:
        return np.memmap(path, mode="r", **layout)
    return np.load(path, mmap_mode="r") if path.endswith(".npy") else Rows(ParquetReader(path))


def fitted(job: dict[str, Any]) -> Any:
    """Fit the estimator of a job together with the other processes."""
    X, y = opened(**job["X"]), job["y"]
    check_consistent_length(X, y)
    n_rows, n_processes = X.shape[0], int(os.environ["WORLD_SIZE"])
    if n_rows < n_processes:
        raise ValueError(f"n_processes must be at most the number of rows, {n_rows}, got {n_processes}.")
    rows = shard(n_rows)
    own = X[rows] if isinstance(X, np.ndarray | Rows) else _safe_indexing(X, rows)
    return job["estimator"].fit(own) if y is None else job["estimator"].fit(own, y[rows])


def main(folder: Path) -> None:
    """Read the job, and write the fitted estimator, or the error of this process."""
    rank = int(os.environ["RANK"])
    if rank:
        warnings.simplefilter("ignore")  # all processes warn alike
    try:
        estimator = fitted(pickle.loads((folder / "job.pickle").read_bytes()))
        if rank == 0:
            (folder / "fitted.pickle").write_bytes(pickle.dumps(estimator))
    except Exception as error:
        (folder / f"error-{rank}.pickle").write_bytes(pickle.dumps(error))
        raise SystemExit(1) from None


if __name__ == "__main__":
    main(Path(sys.argv[1]))
