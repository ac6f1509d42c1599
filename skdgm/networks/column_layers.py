"""The layers next to the columns, by the parameter ``network``: affine, convolutional, residual, or a user's.

In an encoder or classifier it is the first layer of an MLP, in a decoder the last one. The rest of the MLP stays:
hidden layers, the output layer with its initial scale, classes and masks of missing cells that are added after the
first layer, and the linear path, since any network starts better as a linear model of the columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Generator, Tensor, nn

from skdgm.likelihoods.columns import MixedLikelihood
from skdgm.networks.convolutional import Convolutional
from skdgm.networks.mlp import ACTIVATIONS, LayerMaker
from skdgm.networks.residual import Residual
from skdgm.networks.sizes import Builder, Sizes

NETWORKS: dict[str, Builder | None] = {"mlp": None, "conv": Convolutional(), "resnet": Residual()}

# Without gradients, at most so many rows pass a module at once: draws and classes multiply them, and feature maps are
# large.
MAX_ROWS = 512

# Modules whose result for a row depends on other rows, or on torch's global generator.
UNSUITABLE = (
    nn.modules.batchnorm._BatchNorm,
    nn.modules.dropout._DropoutNd,
    nn.RReLU,
    nn.modules.lazy.LazyModuleMixin,
)


class ColumnLayers:
    """Makes the layers next to the columns.

    Parameters
    ----------
    network : str or callable
        Name in ``NETWORKS``, or a function that builds a module from ``Sizes``.
    likelihood : MixedLikelihood
    activation : str
        Name in ``ACTIVATIONS``.
    image_shape : (height, width, channels) or None
    rng : Generator or None
        Draws the weights.
    """

    def __init__(
        self,
        network: str | Builder,
        likelihood: MixedLikelihood,
        activation: str,
        image_shape: Sequence[int] | None,
        rng: Generator | None,
    ) -> None:
        self.likelihood, self.rng = likelihood, rng
        self.builder = NETWORKS[network] if isinstance(network, str) else network
        self.activation = ACTIVATIONS[activation]
        self.image_shape = None if image_shape is None else (image_shape[0], image_shape[1], image_shape[2])
        if self.builder is not None and self.image_shape is not None:
            check_pixels(likelihood, network)

    def reading(self, role: str) -> LayerMaker | None:
        """Makes the layer that reads the columns; None for an affine one."""
        return None if self.builder is None else partial(self.make, role)

    @property
    def writing(self) -> LayerMaker | None:
        """Makes the layer that writes the parameters of the columns; None for an affine one."""
        if self.builder is None or self.image_shape is None:
            return self.reading("decoder")
        return self.image_writer

    def image_writer(self, n_inputs: int, n_outputs: int) -> nn.Module:
        """As ``make`` for the decoder, with whole images put into the order in which the likelihood reads them."""
        order = output_order(self.likelihood)
        n_columns = len(self.likelihood.columns)
        n_images = -(-(int(order.max()) + 1) // n_columns)
        module = self.make("decoder", n_inputs, n_images * n_columns)
        in_order = len(order) == n_images * n_columns and bool((order.diff() == 1).all())
        return module if in_order else nn.Sequential(module, Take(order))

    def make(self, role: str, n_inputs: int, n_outputs: int) -> nn.Module:
        """Build a layer, and draw its weights."""
        assert self.builder is not None
        sizes = Sizes(role, n_inputs, n_outputs, self.activation, self.image_shape)
        before = torch.get_rng_state()
        module = self.builder(sizes)
        if not torch.equal(torch.get_rng_state(), before):  # torch's layers draw weights, in vain: see draw_weights
            torch.set_rng_state(before)
        check_suitable(module, self.builder)
        if not torch.empty(0).is_meta:  # otherwise only sizes are wanted: there is nothing to draw or to compute
            draw_weights(module, self.rng)
            check_maps_rows(module, sizes, self.builder)
        return Rowwise(module)


class Rowwise(nn.Module):
    """Applies a module of rows, (n, n_inputs), to rows with any leading axes."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        if torch.is_grad_enabled() or len(rows) <= MAX_ROWS:
            outputs = self.module(rows)
        else:
            outputs = self.in_parts(rows)
        return outputs.unflatten(0, x.shape[:-1])

    def in_parts(self, rows: Tensor) -> Tensor:
        """Apply the module to parts of equal size: the last bits of a result may depend on the size."""
        n_parts = -(-len(rows) // MAX_ROWS)
        size = -(-len(rows) // n_parts)
        padded = torch.cat([rows, rows.new_zeros(n_parts * size - len(rows), rows.shape[1])])
        return torch.cat([self.module(part) for part in padded.split(size)])[: len(rows)]


class Take(nn.Module):
    """Selects columns."""

    indices: Tensor

    def __init__(self, indices: Tensor) -> None:
        super().__init__()
        self.register_buffer("indices", indices, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return x[..., self.indices]


def output_order(likelihood: MixedLikelihood) -> Tensor:
    """Where the decoder's outputs stand in whole images, one after the other, the first with each column's first."""
    n_columns = len(likelihood.columns)
    order = [
        image * n_columns + column
        for group, n_outputs in zip(likelihood.groups, likelihood.n_outputs, strict=True)
        for image in range(n_outputs // len(group.columns))
        for column in group.columns
    ]
    return torch.tensor(order, dtype=torch.long)


def check_pixels(likelihood: MixedLikelihood, network: str | Builder) -> None:
    """Raise an error if columns have levels: networks read and write more than one or two numbers of these."""
    for group in likelihood.groups:
        if group.likelihood in ("categorical", "ordinal"):
            raise ValueError(
                f"network={network!r} with image_shape needs pixels with numbers in them, but the likelihood of "
                f"{len(group.columns)} column(s), such as column {group.columns[0]}, is {group.likelihood!r}. Use "
                "likelihood='auto', or name one of numbers, such as 'bernoulli' or 'gaussian'."
            )


def check_suitable(module: object, builder: Builder) -> None:
    """Raise an error if a builder returned anything but a module whose rows are independent."""
    if not isinstance(module, nn.Module):
        raise TypeError(
            f"network={builder!r} must return a torch.nn.Module, got {type(module).__name__}. Pass a function that "
            "takes sizes and builds the module, for example lambda sizes: nn.Linear(sizes.n_inputs, sizes.n_outputs)."
        )
    for part in module.modules():
        if isinstance(part, UNSUITABLE):
            raise ValueError(
                f"network={builder!r} built a module with {type(part).__name__}, whose result for a row depends on "
                "other rows or on torch's global generator. Use LayerNorm or GroupNorm in place of batch "
                "normalization, input_noise or weight_prior in place of dropout, and layers of known sizes."
            )


@torch.no_grad()
def check_maps_rows(module: nn.Module, sizes: Sizes, builder: Builder) -> None:
    """Raise an error unless the module maps rows of ``n_inputs`` cells to rows of ``n_outputs`` cells."""
    wanted = (2, sizes.n_outputs)
    try:
        found = tuple(module(torch.zeros(2, sizes.n_inputs)).shape)
    except Exception as error:
        raise ValueError(
            f"network={builder!r} built a module for the {sizes.role} that fails on rows of shape (2, "
            f"{sizes.n_inputs}): {error}. It must map them to {wanted}."
        ) from error
    if found != wanted:
        raise ValueError(
            f"network={builder!r} built a module for the {sizes.role} that maps rows of shape (2, {sizes.n_inputs}) to "
            f"{found}, wanted {wanted}. Use sizes.n_inputs and sizes.n_outputs."
        )


@torch.no_grad()
def draw_weights(module: nn.Module, rng: Generator | None) -> None:
    """Draw weights of two or more axes Glorot-uniform from ``rng``; set the biases of their layers to 0.

    Others, such as the scales of a layer norm, stay. A module with a method ``init_weights(rng)`` does it itself.
    """
    init_weights = getattr(module, "init_weights", None)
    if callable(init_weights):
        init_weights(rng)
        return
    for child in module.children():
        draw_weights(child, rng)
    own = dict(module.named_parameters(recurse=False))
    matrices = [parameter for parameter in own.values() if parameter.ndim > 1]
    for weight in matrices:
        nn.init.xavier_uniform_(weight, generator=rng)
    for name, parameter in own.items():
        if matrices and "bias" in name and parameter.ndim == 1:
            parameter.zero_()
