"""Benchmark of DLGM training: the cost of each posterior, and a rank-one model of 200-200-200 against Pyro.

The data are 10,000 rows of fixed binarized MNIST if SKDGM_DATA names its folder, otherwise random 0/1 rows of the same
shape: the time does not depend on the values. The batch size is 200. A turn is a fit of one epoch for the costs, and of
five epochs against Pyro. Pyro gets the same layers, batch size, optimizer, and steps. Its guide is its own low-rank
normal (low-rank in the covariance), and it uses the exact KL of TraceMeanField_ELBO.
"""

from __future__ import annotations

import os

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from _table import Row, in_turn, record
from pyro.infer import SVI, TraceMeanField_ELBO

from skdgm import DLGM
from skdgm.datasets import load_binarized_mnist

N_ROWS, BATCH, HIDDEN, RATE, ROUNDS, EPOCHS = 10_000, 200, 200, 1e-3, 3, 5
NOTE = (
    "both sides run the same float32 matrix products; the rest of our step consists of many small operations in the "
    "forward pass, the backward pass, and Adam"
)
POSTERIORS = {
    "diagonal": {"posterior": "diagonal"},
    "rank 1": {"rank": 1},
    "rank 10": {"rank": 10},
    "full": {"posterior": "full"},
}


def rows() -> np.ndarray:
    """Rows of 0 and 1."""
    if os.environ.get("SKDGM_DATA"):
        return load_binarized_mnist(return_X_y=True)[0][:N_ROWS]
    return np.random.default_rng(0).random((N_ROWS, 784), dtype=np.float32).round()


def dlgm(n_components: int, hidden: tuple[int, ...], epochs: int = 1, **params) -> DLGM:
    """A model to train for a given number of epochs."""
    model = DLGM(n_components, hidden_layer_sizes=hidden, likelihood="bernoulli", batch_size=BATCH)
    model.set_params(prior="normal", kl_warmup=0, weight_prior=1.0, early_stopping=False)
    model.set_params(learning_rate_init=RATE, learning_rate="constant", weight_prior=None, max_iter=epochs)
    return model.set_params(random_state=0, **params)


class PyroDLGM(torch.nn.Module):
    """784-200-200, rank-one normal, 200-200-784."""

    def __init__(self, n_latent: int) -> None:
        super().__init__()
        linear, relu = torch.nn.Linear, torch.nn.ReLU
        self.n_latent = n_latent
        self.encoder = torch.nn.Sequential(linear(784, HIDDEN), relu(), linear(HIDDEN, 3 * n_latent))
        self.decoder = torch.nn.Sequential(linear(n_latent, HIDDEN), relu(), linear(HIDDEN, 784))

    def model(self, x: torch.Tensor) -> None:
        """p(z) p(x | z)."""
        pyro.module("dlgm", self)
        with pyro.plate("rows", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(self.n_latent), x.new_ones(self.n_latent)).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=self.decoder(z)).to_event(1), obs=x)

    def guide(self, x: torch.Tensor) -> None:
        """q(z | x), with a covariance of diagonal plus rank one."""
        with pyro.plate("rows", len(x)):
            mean, log_var, factor = self.encoder(x).chunk(3, -1)
            pyro.sample("z", dist.LowRankMultivariateNormal(mean, 0.1 * factor[..., None], torch.exp(log_var)))


def pyro_epochs(X: torch.Tensor, svi: SVI) -> None:
    """Train for some passes over the rows."""
    for _ in range(EPOCHS):
        for indices in torch.randperm(len(X)).split(BATCH):
            svi.step(X[indices])


@torch.no_grad()
def pyro_bound(X: torch.Tensor, model: PyroDLGM) -> float:
    """Mean ELBO from one draw per row."""
    mean, log_var, factor = model.encoder(X).chunk(3, -1)
    q = dist.LowRankMultivariateNormal(mean, 0.1 * factor[..., None], torch.exp(log_var))
    z = q.sample()
    log_p_x = dist.Bernoulli(logits=model.decoder(z)).log_prob(X).sum(-1)
    log_p_z = dist.Normal(0.0, 1.0).log_prob(z).sum(-1)
    return float((log_p_x + log_p_z - q.log_prob(z)).mean())


def costs(X: np.ndarray) -> list[Row]:
    """Seconds per epoch of each posterior against the diagonal one."""
    found = []
    for n_components in (50, 200):
        makers = {name: dlgm(n_components, (HIDDEN, HIDDEN), **params) for name, params in POSTERIORS.items()}
        median = in_turn({name: lambda m=model: m.fit(X) for name, model in makers.items()}, ROUNDS)
        for name in list(POSTERIORS)[1:]:
            ratio = median[name] / median["diagonal"]
            goal = "≤ 1.3×" if name == "rank 1" else ""
            work = f"DLGM 784-200-200-{n_components}, {name}, an epoch of 10,000 rows"
            found.append(
                Row(work, "diagonal posterior", f"{median[name]:.2f} s", f"{median['diagonal']:.2f} s", ratio, goal)
            )
    return found


def against_pyro(X: np.ndarray) -> Row:
    """Time a rank-one model of 200-200-200 in both libraries in turn."""
    pyro.clear_param_store()
    torch.manual_seed(0)
    x, theirs = torch.from_numpy(X), PyroDLGM(200)
    svi = SVI(theirs.model, theirs.guide, pyro.optim.Adam({"lr": RATE}), TraceMeanField_ELBO())
    ours = dlgm(200, (HIDDEN,), EPOCHS).fit(X).set_params(warm_start=True)
    pyro_epochs(x, svi)
    median = in_turn({"ours": lambda: ours.fit(X), "theirs": lambda: pyro_epochs(x, svi)}, ROUNDS)
    bounds = f"bound {ours.elbo_samples(X[:2000]).mean():.1f} against {pyro_bound(x[:2000], theirs):.1f} nats"
    n_rows = EPOCHS * N_ROWS
    return Row(
        "DLGM training, rank one, 784-200-200-200-784, batch 200",
        "Pyro, low-rank guide",
        f"{n_rows / median['ours']:,.0f} rows/s",
        f"{n_rows / median['theirs']:,.0f} rows/s",
        median["theirs"] / median["ours"],
        "≥ 3×",
        f"{bounds} after {EPOCHS * (ROUNDS + 1)} epochs",
        NOTE,
    )


def main() -> None:
    """Time the posteriors, then Pyro."""
    X = rows()
    record(__file__, [*costs(X), against_pyro(X)])


if __name__ == "__main__":
    main()
