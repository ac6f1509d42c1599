"""A multi-layer perceptron as one node of autograd's graph, with its gradients written by hand.

A small training step costs more in the dispatch of operations than in arithmetic. Autograd has a node for each
operation of an MLP, about a dozen; here there is one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from skdgm.networks.rows import sum_at

aten = torch.ops.aten

# A product whose result has fewer columns is computed as its transpose.
FEW = 32


class Activation(NamedTuple):
    """An activation, which may overwrite its input h, and its gradient.

    ``backward`` takes the gradient with respect to the output and what is kept: the output, or the input h.
    """

    forward: Callable[[Tensor], Tensor]
    backward: Callable[[Tensor, Tensor], Tensor]
    keeps_output: bool


ACTIVATIONS = {
    "relu": Activation(lambda h: h.clamp_min_(0), lambda grad, a: aten.threshold_backward(grad, a, 0), True),
    "tanh": Activation(torch.tanh_, aten.tanh_backward, True),
    "softplus": Activation(F.softplus, lambda grad, h: aten.softplus_backward(grad, h, 1, 20), False),
    "silu": Activation(F.silu, aten.silu_backward, False),
}


class Inputs(NamedTuple):
    """What an MLP reads: rows x, (n, n_in), and for its m outputs classes y, (m,), and the indices ``rows``, (m,).

    ``missing`` is the mask of missing cells, (n, n_in), as numbers; ``extra`` holds further inputs of the outputs,
    (m, n_extra). Without ``rows``, m = n and output i is row i's.
    """

    x: Tensor
    y: Tensor | None
    missing: Tensor | None
    rows: Tensor | None
    extra: Tensor | None = None


class Layer(NamedTuple):
    """Parameters of ``weight @ x + bias``, and of what classes, missing cells, and extra inputs add to it."""

    weight: Tensor
    bias: Tensor
    of_class: Tensor | None = None
    of_missing: Tensor | None = None
    of_extra: Tensor | None = None

    def outputs(self, inputs: Inputs) -> Tensor:
        """The layer's outputs, (m, n_out); what depends on x alone is computed once per row."""
        h = torch.addmm(self.bias, inputs.x, self.weight.T)
        if self.of_missing is not None and inputs.missing is not None:
            h.addmm_(inputs.missing, self.of_missing.T)
        if inputs.rows is not None:
            h = h.index_select(0, inputs.rows)
        if self.of_class is not None and inputs.y is not None:
            h.add_(self.of_class.index_select(0, inputs.y))
        if self.of_extra is not None and inputs.extra is not None:
            h.addmm_(inputs.extra, self.of_extra.T)
        return h

    def gradients(self, inputs: Inputs, grad: Tensor, *, of_x: bool) -> tuple[list[Tensor | None], Tensor | None]:
        """Gradients of the parameters, and of x if it is wanted, from that of the outputs, (m, n_out)."""
        of_class = of_missing = of_extra = None
        if self.of_class is not None and inputs.y is not None:
            of_class = sum_at(inputs.y, grad, len(self.of_class))
        if self.of_extra is not None and inputs.extra is not None:
            of_extra = product(grad.T, inputs.extra)
        if inputs.rows is not None:
            grad = sum_at(inputs.rows, grad, len(inputs.x))
        if self.of_missing is not None and inputs.missing is not None:
            of_missing = product(grad.T, inputs.missing)
        of_parameters = [product(grad.T, inputs.x), grad.sum(0), of_class, of_missing, of_extra]
        return of_parameters, product(grad, self.weight) if of_x else None


def product(a: Tensor, b: Tensor) -> Tensor:
    """``a @ b``. On some processors a product whose result has few columns is five times slower than its transpose."""
    return (b.T @ a.T).T if b.shape[1] < min(FEW, a.shape[0]) else a @ b


class FusedMLP(torch.autograd.Function):
    """The outputs of an MLP, (m, n_out); parameters as for ``fused_mlp``, without names."""

    @staticmethod
    def forward(ctx: Any, activation: str, *tensors: Tensor | None) -> Tensor:
        """Compute the outputs in the precision of autocast; they are float32 in any case."""
        ctx.activation, dtype = ACTIVATIONS[activation], compute_dtype(tensors[0])
        tensors = tuple(t.to(dtype) if t is not None and t.is_floating_point() else t for t in tensors)
        inputs, first, skip, later = unpack(tensors)
        h, kept = first.outputs(inputs), []
        for layer in later:
            a = ctx.activation.forward(h)
            kept += [a, a if ctx.activation.keeps_output else h]
            h = torch.addmm(layer.bias, a, layer.weight.T)
        ctx.save_for_backward(*tensors, *kept)
        ctx.n_later = len(later)
        return h.float() if skip is None else h.float() + skip.outputs(inputs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        """Gradients of x and of all parameters."""
        saved = ctx.saved_tensors
        n_tensors = len(saved) - 2 * ctx.n_later
        inputs, first, skip, later = unpack(saved[:n_tensors])
        outputs, kept = saved[n_tensors::2], saved[n_tensors + 1 :: 2]
        grad, of_x = grads[0].to(inputs.x.dtype), ctx.needs_input_grad[1]
        extra_by_skip = None if skip is None or skip.of_extra is None else product(grad, skip.of_extra)
        of_skip, x_by_skip = ([None] * 5, None) if skip is None else skip.gradients(inputs, grad, of_x=of_x)
        of_later: list[Tensor] = []
        for layer, a, of_activation in zip(later[::-1], outputs[::-1], kept[::-1], strict=True):
            of_later = [product(grad.T, a), grad.sum(0), *of_later]
            grad = ctx.activation.backward(product(grad, layer.weight), of_activation)
        of_first, x_by_first = first.gradients(inputs, grad, of_x=of_x)
        extra_by_first = None if first.of_extra is None else product(grad, first.of_extra)
        of_inputs = sum_of_paths(x_by_first, x_by_skip), None, None, None, sum_of_paths(extra_by_first, extra_by_skip)
        return None, *of_inputs, *of_first, *of_skip, *of_later


def sum_of_paths(by_first: Tensor | None, by_skip: Tensor | None) -> Tensor | None:
    """The gradient of an input from both paths, or from the only one that has it."""
    return by_first if by_skip is None or by_first is None else by_first + by_skip


def compute_dtype(x: Any) -> torch.dtype:
    """The precision of products: that of autocast if it is on."""
    kind = x.device.type
    is_autocast = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
    return torch.get_autocast_dtype(kind) if is_autocast else x.dtype


def unpack(tensors: Any) -> tuple[Inputs, Layer, Layer | None, list[Layer]]:
    """The inputs, the first layer, the linear path, and the later layers."""
    skip = None if tensors[10] is None else Layer(*tensors[10:15])
    later = [Layer(*tensors[i : i + 2]) for i in range(15, len(tensors), 2)]
    return Inputs(*tensors[:5]), Layer(*tensors[5:10]), skip, later


def fused_mlp(activation: str, inputs: Inputs, layers: list[Layer], skip: Layer | None) -> Tensor:
    """Outputs of an MLP, (m, n_out), in float32, plus those of its linear path, if there is one.

    Every layer but the first has a weight and a bias, and reads the activation of the layer below.
    """
    of_skip = [None] * 5 if skip is None else skip
    of_later = [parameter for layer in layers[1:] for parameter in layer[:2]]
    return FusedMLP.apply(activation, *inputs, *layers[0], *of_skip, *of_later)  # type: ignore[no-untyped-call]
