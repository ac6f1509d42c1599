"""What a builder of column layers is told: the sizes of the layer, its role, and the form of images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class Sizes:
    """What a builder gets to know of the module that it should build.

    Parameters
    ----------
    role : {"encoder", "classifier", "decoder"}
        Whose layer it is. Those of encoder and classifier read the columns; that of the decoder writes them.
    n_inputs : int
        Columns of the module's input: columns of X as the networks read them, or for the decoder, units of the hidden
        layer before it.
    n_outputs : int
        Columns of the module's output: units of the first hidden layer, before the activation, or for the decoder,
        parameters of the columns' distributions. With ``image_shape``, these are one image after the other: logits
        for Bernoulli columns, or means, and if the likelihood has them, spreads.
    activation : callable
        The activation function, of tensors.
    image_shape : tuple (height, width, channels) or None
        The parameter of the estimator.
    """

    role: str
    n_inputs: int
    n_outputs: int
    activation: Callable[[Tensor], Tensor]
    image_shape: tuple[int, int, int] | None

    @property
    def reads_columns(self) -> bool:
        """Whether the module reads the columns; otherwise it writes them."""
        return self.role != "decoder"


Builder = Callable[[Sizes], nn.Module]  # the module maps rows of n_inputs cells to rows of n_outputs cells
