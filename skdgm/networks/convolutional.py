"""Convolutional layers next to the pixels of images: strided convolutions, and transposed ones in the decoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from skdgm.networks.mlp import SteadyLinear
from skdgm.networks.sizes import Sizes


@dataclass(frozen=True)
class Convolutional:
    """Builder of convolutional layers, each of which halves the height and width of an image.

    ``network="conv"`` is this builder with its defaults. Needs ``image_shape``.

    Parameters
    ----------
    channels : sequence of int, default=(16, 32)
        Channels after each convolution, from the pixels upward; the decoder mirrors them. More channels and more
        convolutions fit finer structure and take longer.
    kernel_size : int, default=3
        Height and width of the filters, odd. Larger filters see more of the image at once and take longer.

    Examples
    --------
    >>> from skdgm import VAE
    >>> from skdgm.networks import Convolutional
    >>> vae = VAE(network=Convolutional((8, 16, 32)), image_shape=(28, 28))
    """

    channels: Sequence[int] = (16, 32)
    kernel_size: int = 3

    def __post_init__(self) -> None:
        if not len(self.channels) or min(self.channels) < 1:
            raise ValueError(f"channels must hold integers >= 1, got {self.channels!r}. Use for example (16, 32).")
        if self.kernel_size < 1 or self.kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd and >= 1, got {self.kernel_size!r}. Use for example 3.")

    def __call__(self, sizes: Sizes) -> nn.Module:
        """Build the layer."""
        if sizes.image_shape is None:
            raise ValueError(
                "network='conv' needs image_shape, got None. Give the form of the images in the rows of X: (height, "
                "width) or (height, width, channels)."
            )
        return (ConvolutionalReader if sizes.reads_columns else ConvolutionalWriter)(
            sizes, list(self.channels), self.kernel_size
        )


class ConvolutionalReader(nn.Module):
    """Strided convolutions of an image, and an affine map of what they find."""

    def __init__(self, sizes: Sizes, channels: list[int], kernel_size: int) -> None:
        super().__init__()
        self.image_shape, self.activation = image_shape_of(sizes), sizes.activation
        first = sizes.n_inputs // (self.image_shape[0] * self.image_shape[1])
        options = {"stride": 2, "padding": kernel_size // 2}
        self.convolutions = nn.ModuleList(
            nn.utils.skip_init(nn.Conv2d, a, b, kernel_size, **options)
            for a, b in zip([first, *channels[:-1]], channels, strict=True)
        )
        height, width = halved(self.image_shape, len(channels))[-1]
        self.output = nn.utils.skip_init(SteadyLinear, channels[-1] * height * width, sizes.n_outputs)

    def forward(self, x: Tensor) -> Tensor:
        """The features, (n, n_outputs)."""
        h = as_images(x, self.image_shape)
        for convolution in self.convolutions:
            h = self.activation(convolution(h))
        return self.output(h.flatten(1))


class ConvolutionalWriter(nn.Module):
    """The mirror image of ``ConvolutionalReader``: an affine map, and transposed convolutions."""

    def __init__(self, sizes: Sizes, channels: list[int], kernel_size: int) -> None:
        super().__init__()
        self.image_shape, self.activation = image_shape_of(sizes), sizes.activation
        shapes = halved(self.image_shape, len(channels))[::-1]
        last = sizes.n_outputs // (self.image_shape[0] * self.image_shape[1])
        upward = [*channels[::-1], last]
        self.smallest = (channels[-1], *shapes[0])
        self.input = nn.utils.skip_init(SteadyLinear, sizes.n_inputs, channels[-1] * shapes[0][0] * shapes[0][1])
        self.convolutions = nn.ModuleList(
            transposed(a, b, kernel_size, small, large)
            for a, b, small, large in zip(upward[:-1], upward[1:], shapes[:-1], shapes[1:], strict=True)
        )

    def forward(self, h: Tensor) -> Tensor:
        """Images, (n, n_outputs)."""
        h = self.input(h).unflatten(1, self.smallest)
        for convolution in self.convolutions:
            h = convolution(self.activation(h))
        return as_rows(h, self.image_shape[2])


def image_shape_of(sizes: Sizes) -> tuple[int, int, int]:
    """The form of the images, which the builder has checked."""
    assert sizes.image_shape is not None
    return sizes.image_shape


def halved(image_shape: Sequence[int], n_times: int) -> list[tuple[int, int]]:
    """Height and width of an image, and after each of ``n_times`` halvings, rounded up."""
    shapes = [(image_shape[0], image_shape[1])]
    for _ in range(n_times):
        height, width = shapes[-1]
        shapes.append((-(-height // 2), -(-width // 2)))
    return shapes


def transposed(a: int, b: int, kernel_size: int, small: tuple[int, int], large: tuple[int, int]) -> nn.Module:
    """The transposed convolution from a channels to b that doubles an image to a given height and width."""
    extra = (large[0] - (2 * small[0] - 1), large[1] - (2 * small[1] - 1))
    options = {"stride": 2, "padding": kernel_size // 2, "output_padding": extra}
    return nn.utils.skip_init(nn.ConvTranspose2d, a, b, kernel_size, **options)


def as_images(x: Tensor, image_shape: tuple[int, int, int]) -> Tensor:
    """Rows of one or several images of (height, width, channels), as (n, all channels, height, width)."""
    return x.unflatten(1, (-1, *image_shape)).permute(0, 1, 4, 2, 3).flatten(1, 2)


def as_rows(images: Tensor, n_channels: int) -> Tensor:
    """The inverse of ``as_images``."""
    return images.unflatten(1, (-1, n_channels)).permute(0, 1, 3, 4, 2).flatten(1)
