"""Training steps as CUDA graphs.

A step of a small model has hundreds of kernels, and Python takes ten times as long to launch them one by one as the GPU
takes to run them. A graph holds all kernels of a step and is launched at once. It is recorded from one call of the step
and runs the same kernels on the same memory ever after: what changes from step to step is copied into its inputs.
"""

from __future__ import annotations

import gc
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from threading import Lock
from typing import Any, TypeAlias

import torch
from torch import Generator, Tensor, nn

from skdgm.sources import Batch

# Batches of each shape first run as they are, which loads libraries and kernels: neither is possible while recording.
N_UNRECORDED = 2
# Batch sizes differ by at most one in each source, so that there are few shapes. Graphs of others would take memory.
MAX_GRAPHS = 16
# Packages whose modules have no state in Python that changes from step to step.
KNOWN = ("skdgm", "torch")
# Before this version of torch, recording is not safe beside other threads; from the next one on, generators that a
# graph draws from need not be registered.
SAFE, KNOWS_GENERATORS = "2.10", "2.14"
# One graph is recorded at a time, of all that is launched on a stream.
RECORDING = Lock()

Means: TypeAlias = dict[str, Tensor]
Step = Callable[..., Means]  # takes batches and numbers
Record = Callable[[Callable[[], Means]], tuple[Callable[[], None], Means]]


def can_record(module: nn.Module) -> bool:
    """Tell whether the training steps of a module can be recorded.

    They are on a GPU, unless the module has parts of the user's own, whose Python code a graph would not run again, or
    the environment variable SKDGM_CUDA_GRAPHS is 0.
    """
    on_gpu = all(parameter.is_cuda for parameter in module.parameters()) and torch.__version__ >= SAFE
    is_wanted = os.environ.get("SKDGM_CUDA_GRAPHS") != "0" and not torch.is_anomaly_enabled()
    return on_gpu and is_wanted and all(map(repeats, module.modules()))


def repeats(part: nn.Module) -> bool:
    """Tell whether a part of a module does the same at each step, in kernels that can be recorded."""
    source = type(part).__module__
    is_known = source.split(".")[0] in KNOWN and not source.startswith("torch.jit")
    hooks = (part._forward_hooks, part._forward_pre_hooks, part._backward_hooks, part._backward_pre_hooks)
    return is_known and not any(hooks) and "forward" not in vars(part) and getattr(part, "can_be_recorded", True)


class StepGraphs:
    """A step that is recorded as a graph, one for each shape of the batches, and from then on replayed.

    Parameters
    ----------
    step : callable
        Takes a list of batches and some numbers, and returns scalar tensors by name. Its results must depend on these,
        on generators, and on the contents of tensors only, and it must change tensors in place.
    record : callable
        Calls a function; returns one that repeats its kernels, and the tensors that it returned.
    device : torch.device
    """

    def __init__(self, step: Step, record: Record, device: torch.device) -> None:
        self.step, self.record, self.device = step, record, device
        self.n_seen: Counter[object] = Counter()
        self.graphs: dict[object, StepGraph] = {}
        self.numbers: tuple[Tensor, ...] = ()
        self.n_graphs = MAX_GRAPHS

    def __call__(self, batches: Sequence[Batch], *numbers: float) -> Means:
        """Run a step."""
        self.set_numbers(numbers)
        shapes = shapes_of(batches)
        self.n_seen[shapes] += 1
        if shapes not in self.graphs and self.n_seen[shapes] > N_UNRECORDED and len(self.graphs) < self.n_graphs:
            self.add_graph(shapes, batches)
        graph = self.graphs.get(shapes)
        return self.step(batches, *self.numbers) if graph is None else graph(batches)

    def set_numbers(self, numbers: Sequence[float]) -> None:
        """Write the numbers where all steps read them, also those that are not recorded: their bits are the same."""
        self.numbers = self.numbers or torch.zeros(len(numbers), device=self.device).unbind()
        for tensor, number in zip(self.numbers, numbers, strict=True):
            tensor.fill_(number)

    def add_graph(self, shapes: object, batches: Sequence[Batch]) -> None:
        """Record the step for batches of these shapes; if memory is short, no more graphs are recorded."""
        try:
            self.graphs[shapes] = StepGraph(self.step, self.record, batches, self.numbers)
        except torch.OutOfMemoryError:
            self.n_graphs = len(self.graphs)


class StepGraph:
    """A step recorded for batches of some shapes, with the tensors that it reads and writes."""

    def __init__(self, step: Step, record: Record, batches: Sequence[Batch], numbers: Sequence[Tensor]) -> None:
        copies = {id(batch): copy_of(batch) for batch in batches}  # terms that share a batch still do
        self.batches = own = [copies[id(batch)] for batch in batches]
        self.replay, self.means = record(lambda: step(own, *numbers))

    def __call__(self, batches: Sequence[Batch]) -> Means:
        """Run the step for other batches. The next call overwrites the tensors that it returns."""
        for own, value in zip(tensors_of(self.batches), tensors_of(batches), strict=True):
            own.copy_(value)
        self.replay()
        return self.means


class CudaRecorder:
    """Records what a function launches on a GPU. All graphs share their memory: they run one after another.

    Parameters
    ----------
    device : torch.device
    rng : Generator or None
        The generator that the function draws from; None is that of the device. A replay draws new numbers from it.
    """

    def __init__(self, device: torch.device, rng: Generator | None) -> None:
        self.device, self.rng = device, rng
        self.pool = torch.cuda.graph_pool_handle()

    def __call__(self, function: Callable[[], Means]) -> tuple[Callable[[], None], Means]:
        """Record the kernels of a call, which does not run them."""
        graph = torch.cuda.CUDAGraph()
        if self.rng is not None and torch.__version__ < KNOWS_GENERATORS:
            graph.register_generator_state(self.rng)
        torch.cuda.current_stream(self.device).synchronize()  # recording changes the generator
        stream = torch.cuda.stream(recording_stream(self.device))
        with RECORDING, torch.cuda.device(self.device), stream, no_garbage_collection(), own_workspaces():
            make_room(self.device)
            means = captured(graph, self.pool, function)
        return graph.replay, means


def captured(graph: torch.cuda.CUDAGraph, pool: Any, function: Callable[[], Means]) -> Means:
    """Call a function while the graph records; tell the way out if it cannot."""
    graph.capture_begin(pool, capture_error_mode="thread_local")
    try:
        try:
            means = function()
        except BaseException:
            with suppress(RuntimeError):  # the first error is the one to see
                graph.capture_end()
            raise
        graph.capture_end()
    except RuntimeError as error:
        error.add_note("A training step could not be recorded as a CUDA graph; SKDGM_CUDA_GRAPHS=0 trains without.")
        raise
    return means


@cache
def recording_stream(device: torch.device) -> torch.cuda.Stream:
    """A stream for recording only, of those that torch keeps for high priorities: others may run on any new one."""
    return torch.cuda.Stream(device, priority=-1)


@contextmanager
def own_workspaces() -> Iterator[None]:
    """Let cuBLAS allocate new workspaces in the body, for its graph only: two graphs may run at once."""
    torch._C._cuda_clearCublasWorkspaces()
    try:
        yield
    finally:
        torch._C._cuda_clearCublasWorkspaces()


def make_room(device: torch.device) -> None:
    """Free the memory that torch keeps for later, if there is not as much left for a graph, which has its own."""
    if torch.cuda.memory_reserved(device) > torch.cuda.mem_get_info(device)[0]:
        torch.cuda.empty_cache()


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Keep Python from freeing tensors and graphs of others in the body, at any line of it."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def shapes_of(batches: Sequence[Batch]) -> tuple[object, ...]:
    """What a graph depends on: which tensors there are, and their shapes."""
    return tuple(None if value is None else value.shape for batch in batches for value in values_of(batch))


def tensors_of(batches: Sequence[Batch]) -> list[Tensor]:
    """The tensors of some batches, each once."""
    distinct = {id(batch): batch for batch in batches}.values()
    return [value for batch in distinct for value in values_of(batch) if value is not None]


def values_of(batch: Batch) -> tuple[Tensor | None, ...]:
    """The entries of a batch, of which those of its encoder input come last."""
    return (*batch[:-1], *(batch.encoder_input or (None, None)))


def copy_of(batch: Batch) -> Batch:
    """A batch with its own memory."""
    observed, y, weight, x_read, observed_read = [
        None if value is None else value.clone() for value in values_of(batch)[1:]
    ]
    return Batch(batch.x.clone(), observed, y, weight, None if x_read is None else (x_read, observed_read))
