"""Interpret parameters: devices, layer sizes, input noise, and whether a warm start can continue."""

from __future__ import annotations

import math
from numbers import Integral
from typing import Any

import numpy as np
import torch
from torch import Generator, nn

from skdgm._sklearn_compat import StrOptions
from skdgm.networks import NETWORKS
from skdgm.sources import CorruptedSource, Source

# Rows of a step times units of a layer from which bfloat16 is worth its conversions, on a device that multiplies it: a
# fixed number, so that a fit has the same bits on every run. examples/benchmarks/break_even.py measures it.
# A step of an RBM consists of little else than products, of binary states that bfloat16 holds exactly.
MIN_BFLOAT16, MIN_BFLOAT16_RBM = 40_000, 20_000
# Constraints of the parameters that ``network_args`` reads.
NETWORK_PARAMETERS: dict[str, list[Any]] = {
    "network": [StrOptions(set(NETWORKS)), callable],
    "image_shape": [tuple, list, np.ndarray, None],
}

# Parameters behind the arguments of modules that have other names.
PARAMETERS = {"n_latent": "n_components", "n_latents": "n_components", "hidden": "hidden_layer_sizes"}
PARAMETERS |= {"top_down": "inference", "n_prior_components": "prior or n_prior_components", "n_side": "passthrough"}


def generator(random: np.random.RandomState, device: str | torch.device) -> Generator:
    """Make a generator on a device, seeded by the next number of ``random``."""
    return Generator(device).manual_seed(int(random.randint(np.iinfo(np.int32).max)))


def resolve_device(device: str) -> str:
    """Resolve the parameter ``device``; "auto" is the first GPU if there is one, otherwise the CPU."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"device={device!r} is not available here ({str(error).splitlines()[0]}). Use device='cpu', or 'auto' for "
            "a GPU if there is one."
        ) from error
    return str(torch.device(device))


def available_device(device: str) -> str:
    """As ``resolve_device``, but fall back to the CPU: a model fitted on a GPU can be loaded anywhere."""
    try:
        return resolve_device(device)
    except ValueError:
        return "cpu"


def chosen_precision(given: str, size: int, break_even: int, device: str) -> str:
    """Resolve ``precision``: "auto" is bfloat16 if the device has it and ``size``, rows times units, is large."""
    if given != "auto":
        return given
    return "bfloat16" if size >= break_even and multiplies_bfloat16(device) else "float32"


def multiplies_bfloat16(device: str) -> bool:
    """Tell whether a device multiplies bfloat16 in hardware; otherwise bfloat16 is slower than float32."""
    if torch.device(device).type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def layer_sizes(given: Any, name: str = "hidden_layer_sizes") -> list[int]:
    """Return layer sizes as a list; an int is one layer."""
    sizes = list(np.atleast_1d(np.asarray(given, dtype=object)))
    bad = [size for size in sizes if not isinstance(size, Integral) or isinstance(size, bool) or size < 1]
    if bad:
        raise ValueError(f"{name} must hold integers >= 1, got {bad[0]!r}. Use for example (50,) or 50.")
    return [int(size) for size in sizes]


def network_args(estimator: Any, n_columns: int) -> dict[str, Any]:
    """Return the arguments of a module for the layers next to its columns.

    An estimator without the parameter ``network``, whose module models codes, has affine ones.
    """
    network = getattr(estimator, "network", "mlp")
    if isinstance(network, nn.Module):
        raise TypeError(
            f"network must build a module, got a module that is built: {type(network).__name__}. Pass its class, or a "
            "function that takes sizes and returns it."
        )
    if network != "mlp" and not layer_sizes(estimator.hidden_layer_sizes):
        raise ValueError(
            f"network={network!r} needs at least one hidden layer, got hidden_layer_sizes=(). Use for example (200,)."
        )
    return {"network": network, "image_shape": checked_image_shape(getattr(estimator, "image_shape", None), n_columns)}


def checked_image_shape(given: Any, n_columns: int) -> list[int] | None:
    """Return height, width, and channels; raise an error unless they fit the number of columns."""
    if given is None:
        return None
    shape = layer_sizes(given, "image_shape")
    if len(shape) not in (2, 3) or math.prod(shape) != n_columns:
        raise ValueError(
            f"image_shape must be (height, width) or (height, width, channels) with a product of {n_columns}, the "
            f"number of columns of X, got {given!r}. Use for example (28, 28) for 784 columns."
        )
    return [*shape, 1][:3]


def check_same_architecture(
    old: dict[str, Any], new: dict[str, Any], name: str, *, continued_by: str = "warm_start=True"
) -> None:
    """Raise an error if the architecture differs from that of the previous fit, or of the parts before."""
    changed = [key for key in new if old.get(key) != new[key] and key != "missing_indicator"]  # its weights start at 0
    if changed:
        names = ", ".join(PARAMETERS.get(key, key) for key in changed)
        had, has = (", ".join(f"{key}={of.get(key)!r}" for key in changed) for of in (old, new))
        way_out = "Use warm_start=False" if continued_by == "warm_start=True" else "Fit a new estimator"
        raise ValueError(
            f"{continued_by} continues from the last fit, but {names} changed since: {name} had {had}, now {has}. "
            f"{way_out}."
        )


def check_n_samples(n_samples: Any) -> None:
    """Raise an error unless ``n_samples`` is a positive int."""
    if not isinstance(n_samples, Integral) or n_samples < 1:
        raise ValueError(f"n_samples must be an int >= 1, got {n_samples!r}. Draw at least one row.")


def with_input_noise(source: Source, kind: str | None, level: float, likelihood: str) -> Source:
    """Add noise to what the encoder reads of the training rows."""
    if kind is None:
        return source
    if kind == "flip" and likelihood != "bernoulli":
        raise ValueError(
            f"input_noise='flip' turns x into 1 - x, which needs the Bernoulli likelihood, got {likelihood!r}. "
            "Use input_noise='gaussian' or 'dropout'."
        )
    if kind != "gaussian" and level >= 1:
        raise ValueError(
            f"input_noise_level must be a share of cells in (0, 1) for input_noise={kind!r}, got "
            f"{level!r}. Use for example 0.1."
        )
    return CorruptedSource(source, kind, level)
