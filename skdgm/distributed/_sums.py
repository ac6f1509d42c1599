"""Sums over processes in the training loop: gradients, means, and requests to stop. Without processes, nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from skdgm.distributed._processes import current

# The gradient is summed in parts of so many numbers: while one travels, the sum of another is computed.
PART_SIZE = 1 << 22


def reduce_gradient(gradient: Tensor) -> None:
    """Replace the gradient of all parameters by its sum over the processes, in place; nothing in a fit of one process.

    A request to stop travels along: all processes hear of it in the same step.
    """
    processes = current()
    if processes is None:
        return
    message = torch.cat([gradient, gradient.new_full((1,), float(processes.asks_to_stop))])
    for wait in [processes.start_sum(part) for part in message.split(PART_SIZE)]:
        wait()
    gradient.copy_(message[:-1])
    processes.stops = bool(message[-1])


def sum_over_processes(values: Tensor) -> Tensor:
    """Return the sum of a tensor over the processes; the tensor itself in a fit of one process."""
    processes = current()
    return values if processes is None else processes.sum(values)


@contextmanager
def in_training(common_error: type[Exception]) -> Iterator[None]:
    """Within the body, processes wait for each other's sums only.

    An error then ends the connection, unless it is a ``common_error``, which all processes raise alike.
    """
    processes = current()
    if processes is None:
        yield
        return
    processes.trains = True
    try:
        yield
    except common_error:
        processes.trains = False
        raise
    processes.trains = False


def any_process(flag: bool) -> bool:
    """Tell whether the flag is set on any process."""
    return bool(sum_over_processes(torch.tensor(float(flag))))


def stop_of_any(requested: Callable[[], bool]) -> Callable[[], bool]:
    """Return a function that tells whether any process requested to stop, as of the last step.

    ``requested`` tells whether this process does.
    """
    processes = current()
    if processes is None:
        return requested
    processes.stops = False

    def stop() -> bool:
        processes.asks_to_stop = requested()
        return processes.stops

    return stop


def copy_weights_from_first(module: nn.Module) -> None:
    """Set a module's weights and buffers to those of the process of rank 0, whose rounding may differ."""
    processes = current()
    if processes is not None:
        for value in module.state_dict().values():
            processes.copy_from_first(value)
