"""Benchmark of RBM training with 256 units against scikit-learn's BernoulliRBM, in float32 and float64.

The data are 60,000 rows of MNIST drawn as 0 and 1, in batches of 100 (random rows if SKDGM_DATA names no folder). Both
sides make one Gibbs step. Our chains start from the rows, which is our default; scikit-learn's are persistent, its only
option. The time of an epoch is the difference between fits of one epoch and of three, which excludes annealing and
reading the data. The pseudo-likelihood of test rows after three epochs is scikit-learn's estimate on both sides, with
our weights copied into its RBM. Ours uses its default learning rate; scikit-learn's uses the best of 0.02, 0.05, and
0.1. The last rows of the table give the seconds to the pseudo-likelihood that scikit-learn's RBM reaches in three
epochs. We count as many whole epochs as ours needs. The five matrix products of a step are timed by themselves, in the
precision that ours chose: no implementation of the same step can be faster.
"""

from __future__ import annotations

import os

import numpy as np
import torch
from _table import Row, record, seconds
from sklearn.neural_network import BernoulliRBM

from skdgm import StackedAutoencoder
from skdgm.datasets import load_mnist

N_UNITS, BATCH, ROUNDS, EPOCHS = 256, 100, 3, 3
THEIR_RATE = 0.1


def rows() -> tuple[np.ndarray, np.ndarray]:
    """Training and test rows of 0 and 1."""
    rng = np.random.default_rng(0)
    if not os.environ.get("SKDGM_DATA"):
        return rng.random((60_000, 784), dtype=np.float32).round(), rng.random((1000, 784), dtype=np.float32).round()
    train, test = (load_mnist(return_X_y=True, subset=subset)[0] for subset in ("train", "test"))
    return tuple((rng.random(X.shape, dtype=np.float32) < X).astype(np.float32) for X in (train, test))


def ours(epochs: int) -> StackedAutoencoder:
    """Our RBM, with one annealing step, since log Z is not needed."""
    rbm = StackedAutoencoder(N_UNITS, likelihood="bernoulli", batch_size=BATCH, rbm_max_iter=epochs, random_state=0)
    return rbm.set_params(n_bound_samples=1, n_annealing_steps=1, n_annealing_chains=2)


def theirs(epochs: int) -> BernoulliRBM:
    """scikit-learn's RBM."""
    return BernoulliRBM(N_UNITS, learning_rate=THEIR_RATE, batch_size=BATCH, n_iter=epochs, random_state=0)


def product_seconds(precision: str) -> float:
    """Seconds of an epoch's matrix products alone: two conditionals of x, one of h, and the gradient's two."""
    x, W, h = (
        torch.rand(*size).to(getattr(torch, precision)) for size in ((BATCH, 784), (N_UNITS, 784), (BATCH, N_UNITS))
    )

    def products() -> None:
        for _ in range(60_000 // BATCH):
            x @ W.T, h @ W, x @ W.T, h.T @ x, h.T @ x

    return min(seconds(products) for _ in range(ROUNDS))


def why(epoch: dict[str, float], precision: str) -> str:
    """The bound that the products set to the ratio to scikit-learn's epochs."""
    alone = product_seconds(precision)
    bounds = (f"{epoch[name] / alone:.1f}× {name}" for name in ("float32", "float64"))
    return (
        f"both sides run the same five matrix products, which take {alone:.2f} s of an epoch in {precision} by "
        f"themselves: at most {' and '.join(bounds)} if all else cost nothing. The rest of ours are 180,000 random "
        "numbers per step, copies to bfloat16 and back, and small operations, which a second thread slows down"
    )


def pseudo_likelihood(rbm: BernoulliRBM | StackedAutoencoder, X: np.ndarray) -> float:
    """scikit-learn's estimate for either RBM."""
    if isinstance(rbm, StackedAutoencoder):
        module, rbm = rbm.module_.top, theirs(1).fit(X[:100])
        rbm.components_ = module.W.numpy()
        rbm.intercept_visible_, rbm.intercept_hidden_ = module.b.numpy(), module.c.numpy()
    rbm.random_state_ = np.random.RandomState(0)
    return float(rbm.score_samples(X).mean())


def main() -> None:
    """Time all three in turn."""
    train, test = rows()
    makers = {
        "ours": lambda epochs: ours(epochs).fit(train),
        "float32": lambda epochs: theirs(epochs).fit(train),
        "float64": lambda epochs: theirs(epochs).fit(train.astype(np.float64)),
    }
    rounds = []
    for _ in range(ROUNDS):
        taken = {name: [seconds(lambda m=make, e=e: m(e)) for e in (1, EPOCHS)] for name, make in makers.items()}
        rounds.append({name: (long - short) / (EPOCHS - 1) for name, (short, long) in taken.items()})
        print(rounds[-1], flush=True)
    epoch = {name: float(np.median([taken[name] for taken in rounds])) for name in makers}
    ours_after = {epochs: pseudo_likelihood(makers["ours"](epochs), test) for epochs in range(1, EPOCHS + 1)}
    goals, note = {"float32": "≥ 2×", "float64": "≥ 5×"}, why(epoch, makers["ours"](1).precision_)
    theirs_after = {name: pseudo_likelihood(makers[name](EPOCHS), test) for name in goals}

    def row(work: str, name: str, n_epochs: int, n_theirs: int, quality: str) -> Row:
        taken = n_epochs * epoch["ours"], n_theirs * epoch[name]
        sides = (f"{side:.2f} s" for side in taken)
        return Row(work, f"`BernoulliRBM`, {name}", *sides, taken[1] / taken[0], goals[name], quality, note)

    found = []
    for name, theirs_reached in theirs_after.items():
        quality = f"pseudo-likelihood {ours_after[EPOCHS]:.1f} against {theirs_reached:.1f} nats after {EPOCHS} epochs"
        found.append(row(f"An epoch of an RBM, MNIST, 784-256, batch {BATCH}", name, 1, 1, quality))
    for name, theirs_reached in theirs_after.items():
        enough = next((epochs for epochs, value in ours_after.items() if value >= theirs_reached), None)
        if enough is not None:
            work = f"RBM training to the pseudo-likelihood that scikit-learn's reaches in {EPOCHS} epochs"
            quality = f"{ours_after[enough]:.1f} against {theirs_reached:.1f} nats, after {enough} of our epochs"
            found.append(row(work, name, enough, EPOCHS, quality))
    record(__file__, found)


if __name__ == "__main__":
    main()
