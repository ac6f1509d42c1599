"""Rows of all processes as one table, and the functions with which a script splits and joins rows."""

from __future__ import annotations

from itertools import accumulate
from typing import Any

import numpy as np

from skdgm.distributed._processes import Processes, is_active, joined
from skdgm.readers import Rows


class ShardedReader:
    """Reads rows of a table of which every process holds a shard; all processes must read the same rows.

    The rows are numbered in the order of the processes.

    Parameters
    ----------
    processes : Processes
    own : ndarray or Rows of shape (n_own_rows, n_columns)
        The rows of this process.
    way_out : str
        What to do if the shards do not fit together.

    Raises
    ------
    ValueError
        On all processes, if numbers of columns differ.
    """

    def __init__(self, processes: Processes, own: np.ndarray | Rows, way_out: str) -> None:
        self.processes, self.own = processes, own
        processes.check_same({"the number of columns of X": own.shape[1]}, way_out)
        of_all = processes.exchange((len(own), own.dtype))
        self.bounds = [0, *accumulate(n for n, _ in of_all)]
        self.start = self.bounds[processes.rank]
        self.shape = self.bounds[-1], own.shape[1]
        self.dtype = np.result_type(*(dtype for _, dtype in of_all))

    @property
    def matrix(self) -> Any:
        """The sparse matrix of this process; None if its rows are dense."""
        return getattr(getattr(self.own, "reader", None), "matrix", None)

    def read(self, indices: np.ndarray) -> np.ndarray:
        """Read the rows at ascending ``indices``; they reach all processes."""
        low, high = np.searchsorted(indices, [self.start, self.start + len(self.own)])
        part = np.asarray(self.own[indices[low:high] - self.start])
        return np.concatenate(self.processes.exchange(part)).astype(self.dtype, copy=False)

    def split(self, indices: range | np.ndarray) -> tuple[np.ndarray | Rows, list[int]]:
        """Return those rows at ascending ``indices`` that this process has, and the bounds of all processes' rows.

        A process that has none of them returns another row.
        """
        bounds = np.searchsorted(np.asarray(indices), self.bounds).tolist()
        first, last = bounds[self.processes.rank : self.processes.rank + 2]
        if len(indices) == self.shape[0]:
            return self.own, bounds
        return self.own[np.asarray(indices[first:last]) - self.start if first < last else np.arange(1)], bounds


def shard(n_rows: int) -> slice:
    """Return the rows of this process out of ``n_rows`` that all processes can read, such as those of a memmap.

    Parameters
    ----------
    n_rows : int
        Number of rows of the whole table.

    Returns
    -------
    slice
        Consecutive rows, as many for each process, up to one; all rows without other processes. The shards of all
        processes, in their order, are the whole table.

    Examples
    --------
    >>> from skdgm.distributed import shard
    >>> shard(100)  # without torchrun
    slice(0, 100, None)
    """
    if not is_active():
        return slice(0, n_rows)
    processes = joined()
    return slice(*(n_rows * rank // processes.n for rank in (processes.rank, processes.rank + 1)))


def gather_rows(rows: Any) -> Any:
    """Join the rows of all processes, in the order of the processes.

    With it, processes that have predicted their shards get the predictions of the whole table.

    Parameters
    ----------
    rows : ndarray of shape (n_own_rows, ...)
        What ``predict``, ``transform``, ``score_samples``, or ``impute`` returned for the rows of this process. It may
        be empty.

    Returns
    -------
    ndarray of shape (n_rows, ...)
        The same on all processes. Without other processes, ``rows`` themselves.

    Raises
    ------
    ValueError
        On all processes, if the rows differ in their shapes.

    Examples
    --------
    >>> import numpy as np
    >>> from skdgm.distributed import gather_rows
    >>> gather_rows(np.arange(3))
    array([0, 1, 2])
    """
    if not is_active():
        return rows
    rows = np.asarray(rows)
    processes = joined()
    processes.check_same({"the shape of a row": rows.shape[1:]}, "Gather what the same method returned.")
    return np.concatenate(processes.exchange(rows))
