"""The processes of a fit: which there are, and how they exchange values, sums and errors."""

from __future__ import annotations

import atexit
import multiprocessing
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

# Addresses in the text of functions and other objects differ between processes.
ADDRESS = re.compile(r" at 0x[0-9a-f]+")


class ProcessError(RuntimeError):
    """Another process of the fit failed.

    Parameters
    ----------
    message : str
        Names the process and its error, if the process could still tell it.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)


class Processes:
    """The processes that fit one model together, seen from one of them.

    Attributes
    ----------
    rank, n : int
        Number of this process, from 0 on, and number of processes.
    trains : bool
        Whether this process is in the training loop, in which processes only exchange sums.
    asks_to_stop, stops : bool
        Whether this process, or any process, asks to stop the training.
    """

    def __init__(self) -> None:
        self.rank, self.n = dist.get_rank(), dist.get_world_size()
        # values travel by gloo, whatever reduces tensors on GPUs
        self.host = dist.group.WORLD if "gloo" in dist.get_backend() else dist.new_group(backend="gloo")
        self.trains = self.asks_to_stop = self.stops = False

    def exchange(self, value: Any) -> list[Any]:
        """Return the values of all processes, by rank; raise ``ProcessError`` if one of them has failed instead."""
        received: list[Any] = [None] * self.n
        with self.failures_explained():
            dist.all_gather_object(received, ("value", value), group=self.host)
        self._raise_failures(received)
        return [found for _, found in received]

    def _raise_failures(self, received: list[Any]) -> None:
        failed = [(rank, text) for rank, (kind, text) in enumerate(received) if kind == "error"]
        if failed:
            rank, text = failed[0]
            raise ProcessError(f"process {rank} of {self.n} failed: {text}")

    def report(self, error: BaseException) -> None:
        """Tell the other processes, which wait for this one, that it has failed.

        In the training loop they wait for a sum: an end of the connection is the only thing that they would notice.
        """
        if self.trains or not isinstance(error, Exception):
            dist.destroy_process_group()
            return
        received: list[Any] = [None] * self.n
        dist.all_gather_object(received, ("error", f"{type(error).__name__}: {error}"), group=self.host)

    def start_sum(self, values: Tensor) -> Callable[[], None]:
        """Begin to replace a tensor by its sum over the processes; return the function that waits for the sum."""
        with self.failures_explained():
            work = dist.all_reduce(values, group=self.host if values.device.type == "cpu" else None, async_op=True)

        def wait() -> None:
            with self.failures_explained():
                work.wait()

        return wait

    def sum(self, values: Tensor) -> Tensor:
        """Replace a tensor by its sum over the processes, and return it."""
        self.start_sum(values)()
        return values

    def copy_from_first(self, values: Tensor) -> None:
        """Replace a tensor by that of the process of rank 0."""
        with self.failures_explained():
            dist.broadcast(values, 0, group=self.host if values.device.type == "cpu" else None)

    @contextmanager
    def failures_explained(self) -> Iterator[None]:
        """Say that another process has ended, which is what an error of the connection means."""
        try:
            yield
        except RuntimeError as error:
            raise ProcessError(
                f"process {self.rank} of {self.n} lost the connection to the others: one of them has probably ended, "
                f"and its own error says why ({str(error).splitlines()[0]})"
            ) from error

    def check_same(self, found: Mapping[str, Any], way_out: str) -> None:
        """Raise the same error on all processes unless all of them have found the same."""
        of_all = self.exchange(dict(found))
        for rank, other in enumerate(of_all):
            for name in of_all[0] | other:
                first, here = of_all[0].get(name), other.get(name)
                if first != here:
                    raise ValueError(
                        f"{name} must be the same on all processes: process 0 has {first!r}, process {rank} has "
                        f"{here!r}. {way_out}"
                    )


_current: ContextVar[Processes | str | None] = ContextVar("_current", default=None)


def current() -> Processes | None:
    """Return the processes of the fit that is under way; None if it is a fit of this process alone."""
    processes = _current.get()
    return processes if isinstance(processes, Processes) else None


def is_active() -> bool:
    """Tell whether fits are those of several processes together.

    They are if ``torch.distributed`` is initialized with more than one process, or if torchrun has started this
    process. A worker of a parallel search inherits torchrun's environment, but is none of its processes.

    Returns
    -------
    bool

    Examples
    --------
    >>> from skdgm.distributed import is_active
    >>> is_active()
    False
    """
    if _current.get() == "alone" or not dist.is_available():
        return False
    if dist.is_initialized():
        return dist.get_world_size() > 1
    is_launched = dist.is_torchelastic_launched() and multiprocessing.parent_process() is None
    return is_launched and int(os.environ.get("WORLD_SIZE", "1")) > 1


def joined() -> Processes:
    """Return the processes that are connected, and connect them first if nobody has."""
    if not dist.is_initialized():
        store, rank, n = next(rendezvous("env://"))
        # torchrun keeps the store when it restarts its processes, with the addresses of those that have ended
        store = PrefixStore(f"restart-{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        dist.init_process_group(backend, store=store, rank=rank, world_size=n)
        atexit.register(leave)
    return Processes()


def leave() -> None:
    """End the connection that ``joined`` has made."""
    if dist.is_initialized():
        dist.destroy_process_group()


@contextmanager
def alone() -> Iterator[None]:
    """Within the body, fits are those of this process alone, on the rows that it has.

    For whatever processes started by torchrun should do on their own, such as a search over parameters on each of them.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skdgm import VAE, distributed
    >>> with distributed.alone():
    ...     vae = VAE(n_components=2, max_iter=3, random_state=0).fit(load_iris().data)
    """
    token = _current.set("alone")
    try:
        yield
    finally:
        _current.reset(token)


@contextmanager
def together(estimator: Any) -> Iterator[None]:
    """Within the body, the fit of an estimator, all processes fit one model if ``is_active()``."""
    if _current.get() is not None or not is_active():
        yield
        return
    processes = joined()
    token = _current.set(processes)
    try:
        processes.check_same(described(estimator), "Run the same script on all processes.")
        yield
        processes.exchange(None)  # none leaves while another can still fail
    except ProcessError:
        raise
    except BaseException as error:
        processes.report(error)
        raise
    finally:
        _current.reset(token)


def described(estimator: Any) -> dict[str, str]:
    """Return what must be the same on all processes: the class and the parameters."""
    params = {name: ADDRESS.sub("", repr(value)) for name, value in estimator.get_params().items()}
    return {"the estimator": type(estimator).__name__, **params}
