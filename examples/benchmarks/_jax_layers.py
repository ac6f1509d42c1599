"""Affine layers in JAX, for the hand-written peers of our estimators."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

Params = dict[str, dict[str, jax.Array]]


def affine(key: jax.Array, n_in: int, n_out: int) -> dict[str, jax.Array]:
    """Glorot-uniform weights, as in skdgm."""
    limit = np.sqrt(6 / (n_in + n_out))
    return {"w": jax.random.uniform(key, (n_in, n_out), minval=-limit, maxval=limit), "b": jnp.zeros(n_out)}


def layers(key: jax.Array, sizes: dict[str, tuple[int, int]]) -> Params:
    """Layers of these sizes, (n_in, n_out), by name."""
    keys = jax.random.split(key, len(sizes))
    return {name: affine(k, *shape) for k, (name, shape) in zip(keys, sizes.items(), strict=True)}


def apply(params: Params, name: str, x: jax.Array) -> jax.Array:
    """x W + b."""
    return x @ params[name]["w"] + params[name]["b"]
