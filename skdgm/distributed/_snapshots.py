"""Snapshots of a training by several processes: the first one reads and writes them for all."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from skdgm.distributed._processes import Processes, current

# What differs between processes: the generator of noise and order, and what objectives and estimators keep.
OF_PROCESS = ("generator", "stateful.")


def shared(store: Any) -> Any:
    """Return a store of snapshots that answers alike on all processes; without other processes, the store itself."""
    processes = current()
    return store if processes is None else SharedStore(store, processes)


class SharedStore:
    """A store of snapshots, which only the process of rank 0 reads and writes.

    Parameters
    ----------
    store : object with the methods ``newest``, ``is_due`` and ``save``
        Its snapshots are named tuples of ``numbers`` and of ``arrays``, tensors by name.
    processes : Processes
    """

    def __init__(self, store: Any, processes: Processes) -> None:
        self.store, self.processes = store, processes

    def newest(self) -> Any:
        """Return the last snapshot, with what is this process's own in it.

        If the number of processes has changed, all begin with what was that of the process of rank 0, but none with its
        generator: they would draw the same noise.
        """
        snapshot = self.processes.exchange(None if self.processes.rank else self.store.newest())[0]
        if snapshot is None:
            return None
        arrays = {name: value for name, value in snapshot.arrays.items() if not name.startswith("process.")}
        n_before = int(snapshot.numbers.get("n_processes", 1))
        if n_before == self.processes.n:
            prefix = f"process.{self.processes.rank}."
            arrays |= {n.removeprefix(prefix): v for n, v in snapshot.arrays.items() if n.startswith(prefix)}
        elif self.processes.rank:
            arrays.pop("generator", None)
        return snapshot._replace(arrays=arrays)

    def is_due(self, n_epochs: int) -> bool:
        """Tell whether the process of rank 0 wants to save after this many epochs."""
        return bool(self.processes.exchange(None if self.processes.rank else self.store.is_due(n_epochs))[0])

    def save(self, snapshot: Any) -> None:
        """Let the process of rank 0 keep a snapshot, with what is other processes' own."""
        own: dict[str, Tensor] = {n: v for n, v in snapshot.arrays.items() if n.startswith(OF_PROCESS)}
        arrays = dict(snapshot.arrays)
        for rank, of_one in enumerate(self.processes.exchange(own)):
            if rank:
                arrays |= {f"process.{rank}.{name}": value for name, value in of_one.items()}
        if not self.processes.rank:
            self.store.save(
                snapshot._replace(numbers=snapshot.numbers | {"n_processes": self.processes.n}, arrays=arrays)
            )
