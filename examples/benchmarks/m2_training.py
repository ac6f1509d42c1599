"""Benchmark of M2 training on MNIST against Pyro and a hand-written JAX loop.

All sides train 784-500-50 with 10 classes, ReLU, and Adam at 1e-3 on 10,000 rows, of which 1,000 keep their label. A
step has 200 unlabeled and 100 labeled rows, and all sides make the same number of steps. The objective is that of
M2Classifier with ``alpha_normalization="balanced"``: mean -U + mean -L + (alpha N / N_l) mean log q(y | x), summed over
the classes. Accuracy is that of argmax q(y | x) on 10,000 test rows. Compilation time is not counted. The matrix
products of our steps, in the precision that ours chose, are timed by themselves in the same rounds.
"""

from __future__ import annotations

import statistics
import time
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import torch
from _jax_layers import Params, apply, layers
from _pyro_m2 import CLASSES, COLUMNS, HIDDEN, LATENT, PyroTrainer
from _table import Row, record
from step_products import m2_layers, products

from skdgm import M2Classifier
from skdgm.datasets import load_mnist, mask_labels
from skdgm.estimators._options import MIN_BFLOAT16, chosen_precision

N_TRAIN, N_LABELED, N_TEST = 10_000, 1_000, 10_000
BATCH, LABELED_BATCH, EPOCHS, ROUNDS = 200, 100, 5, 3
RATE, ALPHA = 1e-3, 0.1
CE_WEIGHT = ALPHA * N_TRAIN / N_LABELED


def data() -> tuple[np.ndarray, ...]:
    """Training rows, their labels (-1 if unlabeled), test rows and labels; 0/1 pixels."""
    X, y = load_mnist(return_X_y=True)
    X = (X > 0.5).astype(np.float32)
    return X[:N_TRAIN], mask_labels(y[:N_TRAIN], N_LABELED, random_state=0), X[-N_TEST:], y[-N_TEST:]


def batches(n: int, size: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Shuffled row numbers, cut into batches of equal size."""
    return np.array_split(rng.permutation(n), -(-n // size))


def steps(X: np.ndarray, y: np.ndarray, seed: int, epochs: int) -> list[tuple[np.ndarray, ...]]:
    """The batches of a fit: unlabeled rows, labeled rows, labels."""
    rng, unlabeled, labeled = np.random.default_rng(seed), X[y < 0], X[y >= 0]
    classes, found = y[y >= 0], []
    for _ in range(epochs):
        chosen: list[np.ndarray] = []
        for u in batches(len(unlabeled), BATCH, rng):
            chosen = chosen or batches(len(labeled), LABELED_BATCH, rng)
            rows = chosen.pop()
            found.append((unlabeled[u], labeled[rows], classes[rows]))
    return found


# --- ours ---------------------------------------------------------------------------------------------------------


def ours(n_enumerated: int | None, X, y, X_test, y_test, seed: int) -> tuple[float, float]:
    """Seconds and accuracy of M2Classifier."""
    model = M2Classifier(
        LATENT,
        hidden_layer_sizes=(HIDDEN,),
        likelihood="bernoulli",
        alpha=ALPHA,
        alpha_normalization="balanced",
        n_enumerated=n_enumerated,
        batch_size=BATCH,
        labeled_batch_size=LABELED_BATCH,
        learning_rate_init=RATE,
        learning_rate="constant",
        weight_prior=None,
        max_iter=EPOCHS,
        early_stopping=False,
        class_prior="uniform",
        random_state=seed,
    )
    start = time.perf_counter()
    model.fit(X, y)
    return time.perf_counter() - start, model.score(X_test, y_test)


def our_products(n_classes: int, *_: object) -> tuple[float, float]:
    """Seconds of the matrix products of our unlabeled rows, with ``n_classes`` terms of the sum per row."""
    precision = chosen_precision("auto", BATCH * HIDDEN, MIN_BFLOAT16, "cpu")
    layers = m2_layers(COLUMNS, HIDDEN, LATENT, n_classes)
    start = time.perf_counter()
    products(layers, 2, BATCH, precision, EPOCHS * (N_TRAIN - N_LABELED))
    return time.perf_counter() - start, 0.0


# --- Pyro ---------------------------------------------------------------------------------------------------------


def pyro_fit(X, y, X_test, y_test, seed: int) -> tuple[float, float]:
    """Seconds and accuracy of Pyro."""
    trainer = PyroTrainer(RATE, CE_WEIGHT, seed)
    todo = [tuple(map(torch.from_numpy, batch)) for batch in steps(X, y, seed, EPOCHS)]
    start = time.perf_counter()
    for batch in todo:
        trainer.step(*batch)
    taken = time.perf_counter() - start
    with torch.no_grad():
        found = trainer.m2.classifier(torch.from_numpy(X_test)).argmax(1).numpy()
    return taken, float(np.mean(found == y_test))


# --- JAX ----------------------------------------------------------------------------------------------------------


def jax_params(key: jax.Array) -> Params:
    """The layers; those of y are separate, so each network computes its part of x once for all classes."""
    sizes = {
        "classifier": (COLUMNS, HIDDEN),
        "classifier_out": (HIDDEN, CLASSES),
        "encoder": (COLUMNS, HIDDEN),
        "encoder_y": (CLASSES, HIDDEN),
        "encoder_out": (HIDDEN, 2 * LATENT),
        "decoder": (LATENT, HIDDEN),
        "decoder_y": (CLASSES, HIDDEN),
        "decoder_out": (HIDDEN, COLUMNS),
    }
    return layers(key, sizes)


def jax_log_q_y(params: Params, x: jax.Array) -> jax.Array:
    """log q(y | x)."""
    return jax.nn.log_softmax(apply(params, "classifier_out", jax.nn.relu(apply(params, "classifier", x))))


def jax_bound(params: Params, x: jax.Array, y: jax.Array, key: jax.Array) -> jax.Array:
    """-L(x, y), with y one-hot and broadcast against the rows."""
    h = jax.nn.relu(apply(params, "encoder", x) + y @ params["encoder_y"]["w"])
    mean, log_var = jnp.split(apply(params, "encoder_out", h), 2, -1)
    z = mean + jnp.exp(0.5 * log_var) * jax.random.normal(key, mean.shape)
    h = jax.nn.relu(apply(params, "decoder", z) + y @ params["decoder_y"]["w"])
    logits = apply(params, "decoder_out", h)
    log_p_x = (x * logits - jax.nn.softplus(logits)).sum(-1)
    kl = 0.5 * (mean**2 + jnp.exp(log_var) - 1 - log_var).sum(-1)
    return log_p_x - kl - np.log(CLASSES)


def jax_loss(params: Params, x: jax.Array, x_l: jax.Array, y_l: jax.Array, key: jax.Array) -> jax.Array:
    """Minus the objective."""
    key_u, key_l = jax.random.split(key)
    log_q = jax_log_q_y(params, x)
    bound = jax_bound(params, x, jnp.eye(CLASSES)[:, None], key_u).T
    unlabeled = (jnp.exp(log_q) * (bound - log_q)).sum(-1).mean()
    labeled = jax_bound(params, x_l, jax.nn.one_hot(y_l, CLASSES), key_l).mean()
    return -unlabeled - labeled - CE_WEIGHT * jax_log_q_y(params, x_l)[jnp.arange(len(y_l)), y_l].mean()


@partial(jax.jit, donate_argnums=(0, 1, 2))
def jax_step(params, first, second, t, x, x_l, y_l, key):
    """One step of Adam."""
    grads = jax.grad(jax_loss)(params, x, x_l, y_l, key)
    tree = jax.tree_util.tree_map
    first = tree(lambda m, g: 0.9 * m + 0.1 * g, first, grads)
    second = tree(lambda v, g: 0.999 * v + 0.001 * g**2, second, grads)
    scale = RATE * jnp.sqrt(1 - 0.999**t) / (1 - 0.9**t)
    params = tree(lambda p, m, v: p - scale * m / (jnp.sqrt(v) + 1e-8), params, first, second)
    return params, first, second


def jax_fit(X, y, X_test, y_test, seed: int) -> tuple[float, float]:
    """Seconds and accuracy of the JAX loop, compiled beforehand."""
    todo, key = steps(X, y, seed, EPOCHS), jax.random.key(seed)
    for shape in {len(batch[0]): batch for batch in todo}.values():
        params = jax_params(key)
        zeros = [jax.tree_util.tree_map(jnp.zeros_like, params) for _ in range(2)]
        jax.block_until_ready(jax_step(params, *zeros, 1.0, *shape, key))
    params = jax_params(key)
    first, second = (jax.tree_util.tree_map(jnp.zeros_like, params) for _ in range(2))
    keys = list(jax.random.split(key, len(todo)))
    start = time.perf_counter()
    for t, batch in enumerate(todo):
        params, first, second = jax_step(params, first, second, t + 1.0, *batch, keys[t])
    jax.block_until_ready(params)
    taken = time.perf_counter() - start
    found = np.asarray(jax_log_q_y(params, X_test)).argmax(1)
    return taken, float(np.mean(found == y_test))


# --- the table ----------------------------------------------------------------------------------------------------


def why(taken: dict[str, float], name: str, peer: str) -> str:
    """The bound that the products set to the ratio."""
    alone = taken[f"products of {name}"]
    return (
        f"the matrix products of the unlabeled rows by themselves are {alone / taken[name]:.0%} of our time: at most "
        f"{taken[peer] / alone:.1f}× if all else cost nothing. The rest are the labeled rows, activations and "
        "log-densities of the rows of all classes, which are memory traffic, and Adam"
    )


def main() -> None:
    """Time the fits in turn, with one seed per round."""
    fits = {
        "full": partial(ours, None),
        "drawn": partial(ours, 1),
        "pyro": pyro_fit,
        "jax": jax_fit,
        "products of full": partial(our_products, CLASSES),
        "products of drawn": partial(our_products, 2),
    }
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in fits}
    held = data()
    for seed in range(ROUNDS):
        for name, fit in fits.items():
            found[name].append(fit(*held, seed))
            print(seed, name, found[name][-1], flush=True)
    taken = {name: statistics.median(time for time, _ in runs) for name, runs in found.items()}
    accuracy = {name: 100 * np.array([value for _, value in runs]) for name, runs in found.items()}
    n_rows = EPOCHS * (N_TRAIN - N_LABELED)
    rows = []
    for name, peer, goal in [("full", "pyro", "≥ 4×"), ("drawn", "pyro", "≥ 10×"), ("full", "jax", "≥ 1.5×")]:
        quality = " against ".join(
            f"{accuracy[who].mean():.1f} ± {accuracy[who].std(ddof=1):.1f}" for who in (name, peer)
        )
        row = Row(
            f"M2 training, MNIST, 784-500-50, {'full label sum' if name == 'full' else '`n_enumerated=1`'}",
            "hand-written JAX, jitted" if peer == "jax" else "Pyro `TraceEnum_ELBO`",
            f"{n_rows / taken[name]:,.0f} rows/s",
            f"{n_rows / taken[peer]:,.0f} rows/s",
            taken[peer] / taken[name],
            goal,
            f"accuracy {quality} % after {EPOCHS} epochs",
            why(taken, name, peer),
        )
        rows.append(row)
    record(__file__, rows)


if __name__ == "__main__":
    main()
