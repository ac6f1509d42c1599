"""The multi-layer perceptron on a row, its class, and its mask of missing cells; its layers and activations."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skdgm.distributions import linear, smooth_clip
from skdgm.networks.batch_norm import BatchNorm
from skdgm.networks.fused import Inputs, Layer, fused_mlp
from skdgm.networks.rows import rows_at

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "softplus": F.softplus,
    "relu": F.relu,
    "tanh": torch.tanh,
    "silu": F.silu,
}

# With a linear path, the last layer's weights start at this fraction of Glorot's.
INITIAL_NONLINEARITY = 0.1


# Makes a layer from its numbers of inputs and outputs.
LayerMaker = Callable[[int, int], nn.Module]


class Affine(nn.Module):
    """``weight @ x + bias``, with Glorot-uniform weights drawn from ``rng`` and bias 0."""

    def __init__(self, n_in: int, n_out: int, rng: torch.Generator | None, *, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_out, n_in))
        self.bias = nn.Parameter(torch.zeros(n_out)) if bias else None
        nn.init.xavier_uniform_(self.weight, generator=rng)

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)


class SteadyLinear(nn.Linear):
    """``nn.Linear``, but without gradients a row's result does not depend on its place among the rows."""

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)


class ClassAffine(nn.Module):
    """The affine map of a one-hot label, looked up by index: cheap even for a thousand classes."""

    def __init__(self, n_classes: int, n_out: int, rng: torch.Generator | None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_classes, n_out))
        nn.init.xavier_uniform_(self.weight, generator=rng)

    def forward(self, y: Tensor) -> Tensor:
        return F.embedding(y, self.weight)


class MLP(nn.Module):
    """Multi-layer perceptron on a row x and, if ``n_classes`` is given, on its class y.

    Parameters
    ----------
    n_in, n_out : int
        Columns of x and of the output.
    hidden : sequence of int
        Hidden layer sizes; empty for an affine map.
    activation : str
        Name in ``ACTIVATIONS``, applied after each hidden layer.
    rng : torch.Generator or None
        Draws the weights.
    n_classes : int
        Number of classes of y; 0 for a network of x only.
    n_indicators : int
        Number of columns whose mask of missing cells is an input as well; 0 for none.
    linear_skip : bool
        Add an affine map of the input to the output, and start with small weights in the last layer of the other path:
        the network starts out nearly linear.
    clip_inputs : bool
        Pass x through ``smooth_clip``, which keeps outlying cells from outweighing the others.
    first, last : callable or None
        Make the first or the last layer from its numbers of inputs and outputs, if there are hidden layers; None is
        affine. Classes, masks, and the linear path join outside of such a layer.
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        hidden: Sequence[int],
        activation: str,
        rng: torch.Generator | None,
        n_classes: int = 0,
        n_indicators: int = 0,
        linear_skip: bool = False,
        clip_inputs: bool = False,
        first: LayerMaker | None = None,
        last: LayerMaker | None = None,
    ) -> None:
        super().__init__()
        sizes = [n_in, *hidden, n_out]
        self.hidden, self.n_first = tuple(hidden), sizes[1]
        self.norms: nn.ModuleList | None = None
        makers: list[LayerMaker] = [lambda a, b: Affine(a, b, rng)] * (len(sizes) - 1)
        makers[0], makers[-1] = first or makers[0], last or makers[-1]
        self.layers = nn.ModuleList(make(a, b) for make, a, b in zip(makers, sizes[:-1], sizes[1:], strict=True))
        self.class_embedding = ClassAffine(n_classes, sizes[1], rng) if n_classes else None
        self.missing_weight = nn.Parameter(torch.zeros(sizes[1], n_indicators)) if n_indicators else None
        self.extra_weight: nn.Parameter | None = None
        self.activation_name, self.activation, self.clip_inputs = activation, ACTIVATIONS[activation], clip_inputs
        self.skip = None
        if linear_skip and len(hidden):
            self.skip = MLP(n_in, n_out, (), activation, rng, n_classes, n_indicators)
            self.scale_outputs(slice(None), INITIAL_NONLINEARITY, skip=1.0)

    def read_extra(self, n_extra: int) -> None:
        """Add ``n_extra`` inputs, which join after the first layer; their weights start at 0."""
        self.extra_weight = nn.Parameter(torch.zeros(self.n_first, n_extra))
        if self.skip is not None:
            self.skip.read_extra(n_extra)

    def normalize_hidden(self) -> None:
        """Normalize the hidden units over each batch, before their activation."""
        self.norms = nn.ModuleList(BatchNorm(n) for n in self.hidden)

    @torch.no_grad()
    def scale_outputs(self, outputs: slice, factor: float, skip: float | None = None) -> None:
        """Multiply the weights of some outputs by ``factor``; those of the linear path by ``skip`` if given."""
        matrices = [weight for weight in self.layers[-1].parameters() if weight.ndim > 1]
        for weight in matrices[-1:]:
            weight[outputs] *= factor
        if self.skip is not None:
            self.skip.scale_outputs(outputs, factor if skip is None else skip)

    @property
    def linear_parameters(self) -> tuple[Tensor, Tensor]:
        """Weight and bias of the linear path; of the last layer if there is none."""
        affine = (self.skip or self).layers[-1]
        return affine.get_parameter("weight"), affine.get_parameter("bias")

    @property
    def linear_missing_weight(self) -> Tensor | None:
        """What a missing cell adds to the linear outputs, (n_out, n_indicators); None without indicators."""
        return (self.skip or self).missing_weight

    @torch.no_grad()
    def init_linear(self, weight: Tensor, bias: Tensor) -> None:
        """Initialize the linear path with this weight, (n_out, n_in), and bias, (n_out,)."""
        for parameter, value in zip(self.linear_parameters, (weight, bias), strict=True):
            parameter.copy_(value)

    def read(self, x: Tensor) -> Tensor:
        """The rows as the first layer reads them."""
        return smooth_clip(x) if self.clip_inputs else x

    def forward(
        self,
        x: Tensor,
        y: Tensor | None = None,
        observed: Tensor | None = None,
        rows: Tensor | None = None,
        extra: Tensor | None = None,
    ) -> Tensor:
        """Outputs of shape (broadcast of the batches of x, y and extra, n_out), always float32.

        ``y`` holds class indices, ``observed`` the mask of observed cells. With ``rows``, indices of shape (m,), y has
        this shape too, and the outputs, (m, n_out), are those of these rows of x: what depends on x alone is computed
        once per row. ``extra`` holds the inputs of ``read_extra``, one row per output.
        """
        if self.is_fusible(x, y, extra):
            return self.fused(x, y, observed, rows, extra)
        x = self.read(x)
        h = self.layers[0](x)
        if self.missing_weight is not None and observed is not None:
            h = h + linear((~observed).to(x.dtype), self.missing_weight)
        if rows is not None:
            h = rows_at(h, rows)
        if self.class_embedding is not None and y is not None:
            h = h + rows_at(self.class_embedding.weight, y.flatten()).view(*y.shape, -1)
        if self.extra_weight is not None and extra is not None:
            h = h + linear(extra, self.extra_weight)
        for i, layer in enumerate(self.layers[1:]):
            h = layer(self.activation(h if self.norms is None else self.norms[i](h)))
        return h.float() if self.skip is None else h.float() + self.skip(x, y, observed, rows, extra)

    def affine_layers(self) -> list[Affine]:
        """The layers, if all are affine; else none."""
        affine = [layer for layer in self.layers if isinstance(layer, Affine)]
        return affine if len(affine) == len(self.layers) else []

    def is_fusible(self, x: Tensor, y: Tensor | None, extra: Tensor | None = None) -> bool:
        """Whether ``fused`` computes this: training affine layers without norms on a plain batch of rows."""
        is_plain = x.ndim == 2 and (y is None or y.ndim == 1) and (extra is None or extra.ndim == 2)
        if not is_plain or self.norms is not None or not torch.is_grad_enabled():
            return False
        return any(layer.weight.requires_grad for layer in self.affine_layers())

    def fused(
        self, x: Tensor, y: Tensor | None, observed: Tensor | None, rows: Tensor | None, extra: Tensor | None
    ) -> Tensor:
        """``forward`` as one node of autograd's graph."""
        missing = None if observed is None else (~observed).to(x.dtype)
        skip = None if self.skip is None else self.skip.fused_layers()[0]
        inputs = Inputs(self.read(x), y, missing, rows, extra)
        return fused_mlp(self.activation_name, inputs, self.fused_layers(), skip)

    def fused_layers(self) -> list[Layer]:
        """Parameters of the layers."""
        of_class = None if self.class_embedding is None else self.class_embedding.weight
        first, *later = self.affine_layers()
        return [
            Layer(first.weight, first.get_parameter("bias"), of_class, self.missing_weight, self.extra_weight),
            *(Layer(layer.weight, layer.get_parameter("bias")) for layer in later),
        ]
