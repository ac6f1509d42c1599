"""Benchmark of importance weights, 50 draws per row, against the same in hand-written JAX, jitted.

``VAE.score_samples`` and ``M2Classifier.predict_proba`` with ``proba_method="bayes"``, which draws z for each of 10
classes. Both sides have networks of 784-500-50 with ReLU and a linear path beside them, Bernoulli rows, and as many
draws. JAX computes blocks of rows in ``lax.map``; the best of several sizes of a block counts, and its compilation
does not. Its draws come from one generator for all rows, ours from a generator for each row, so that the result of a
row does not depend on the others. The matrix products of the decoder are timed by themselves in the same run.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import torch
from _jax_layers import Params, apply, layers
from _table import Row, in_turn, record

from skdgm import VAE, M2Classifier

COLUMNS, HIDDEN, LATENT, CLASSES, DRAWS, ROUNDS = 784, 500, 50, 10, 50, 5
N_ROWS = {1: 2_048, CLASSES: 256}
BLOCKS = (8, 32, 128)
COMMON = {"hidden_layer_sizes": (HIDDEN,), "likelihood": "bernoulli", "max_iter": 1, "random_state": 0}
SIZES = {"encoder": (COLUMNS, 2 * LATENT), "decoder": (LATENT, COLUMNS)}  # n_in, n_out

# --- JAX ----------------------------------------------------------------------------------------------------------


def jax_params(n_classes: int) -> Params:
    """The layers of the encoder and the decoder; "linear" is the path beside the network, "y" reads the class."""
    sizes = {}
    for name, (n_in, n_out) in SIZES.items():
        sizes |= {name: (n_in, HIDDEN), f"{name}_out": (HIDDEN, n_out), f"{name}_linear": (n_in, n_out)}
        sizes |= {f"{name}_y": (n_classes, HIDDEN), f"{name}_linear_y": (n_classes, n_out)}
    return layers(jax.random.key(0), sizes)


def network(params: Params, name: str, x: jax.Array, y: jax.Array) -> jax.Array:
    """Outputs of a network for each class of y, one-hot."""
    h = jax.nn.relu(apply(params, name, x) + y @ params[f"{name}_y"]["w"])
    of_class = y @ params[f"{name}_linear_y"]["w"]
    return apply(params, f"{name}_out", h) + apply(params, f"{name}_linear", x) + of_class


def log_joint(params: Params, n_classes: int, x: jax.Array, key: jax.Array) -> jax.Array:
    """Importance-weighted log p(x, y) of each class, (n_classes, n)."""
    y = jnp.eye(n_classes)[:, None]
    mean, log_var = jnp.split(network(params, "encoder", x, y), 2, -1)
    noise = jax.random.normal(key, (DRAWS, *mean.shape))
    z = mean + jnp.exp(0.5 * log_var) * noise
    logits = network(params, "decoder", z, y)
    log_p_x = (x * logits - jax.nn.softplus(logits)).sum(-1)
    log_ratio = 0.5 * (noise**2 + log_var - z**2).sum(-1)
    return jax.nn.logsumexp(log_p_x + log_ratio, 0) - np.log(DRAWS * n_classes)


@partial(jax.jit, static_argnums=(1, 2))
def jax_all(params: Params, n_classes: int, block: int, x: jax.Array) -> jax.Array:
    """``log_joint`` of all rows, a block at a time."""
    blocks = x.reshape(-1, block, COLUMNS)
    keys = jax.random.split(jax.random.key(1), len(blocks))
    return jax.lax.map(lambda pair: log_joint(params, n_classes, *pair), (blocks, keys))


def jax_sides(X: np.ndarray, n_classes: int) -> dict[str, Callable[[], object]]:
    """A contestant for each size of a block, compiled."""
    params, x = jax_params(n_classes), jnp.asarray(X)
    sides = {
        f"JAX {block}": lambda block=block: jax_all(params, n_classes, block, x).block_until_ready() for block in BLOCKS
    }
    for side in sides.values():
        side()
    return sides


# --- the table ----------------------------------------------------------------------------------------------------


def products(n_rows: int, n_classes: int) -> Callable[[], None]:
    """The decoder's matrix products alone, by PyTorch."""
    h, z = torch.rand(DRAWS * 16, HIDDEN), torch.rand(DRAWS * 16, LATENT)
    W, V, S = torch.rand(LATENT, HIDDEN), torch.rand(HIDDEN, COLUMNS), torch.rand(LATENT, COLUMNS)

    def work() -> None:
        for _ in range(n_rows * n_classes // 16):
            z @ W, h @ V, z @ S

    return work


def compared(work: str, ours: Callable[[np.ndarray], object], n_classes: int) -> Row:
    """Time one of ours, JAX, and the products in turn."""
    n_rows = N_ROWS[n_classes]
    X = np.random.default_rng(0).random((n_rows, COLUMNS), dtype=np.float32).round()
    sides = {"ours": lambda: ours(X), "products": products(n_rows, n_classes), **jax_sides(X, n_classes)}
    median = in_turn(sides, ROUNDS)
    theirs = min(taken for name, taken in median.items() if name.startswith("JAX"))
    note = (
        f"the matrix products of the decoder by themselves are {median['products'] / median['ours']:.0%} of our time "
        f"and {median['products'] / theirs:.0%} of JAX's: at most {theirs / median['products']:.2f}× if all else cost "
        "nothing"
    )
    rates = (f"{n_rows / taken:,.0f} rows/s" for taken in (median["ours"], theirs))
    return Row(work, "hand-written JAX, jitted", *rates, theirs / median["ours"], "≥ 1.5×", note=note)


def main() -> None:
    """Compare both methods."""
    few = np.random.default_rng(1).random((1_000, COLUMNS), dtype=np.float32).round()
    vae = VAE(LATENT, prior="normal", n_importance_samples=DRAWS, **COMMON).fit(few)
    bayes = {"proba_method": "bayes", "n_importance_samples": DRAWS, "alpha": 0.1}
    m2 = M2Classifier(LATENT, **bayes, **COMMON).fit(few, np.arange(1_000) % CLASSES)
    rows = [
        compared("`VAE.score_samples`, 784-500-50, 50 draws", vae.score_samples, 1),
        compared("`M2Classifier.predict_proba`, `proba_method='bayes'`, 10 classes of 50 draws", m2.predict_proba, 10),
    ]
    record(__file__, rows)


if __name__ == "__main__":
    main()
