"""M2 in Pyro, as the benchmarks train it: model and guide of Pyro's semi-supervised example, with our sizes."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from pyro.infer import Trace_ELBO, TraceEnum_ELBO, config_enumerate

COLUMNS, HIDDEN, LATENT, CLASSES = 784, 500, 50, 10


class PyroM2(torch.nn.Module):
    """Model and guide as in Pyro's own semi-supervised example, with our sizes, layers and objective."""

    def __init__(self) -> None:
        super().__init__()
        mlp = lambda a, b: torch.nn.Sequential(torch.nn.Linear(a, HIDDEN), torch.nn.ReLU(), torch.nn.Linear(HIDDEN, b))  # noqa: E731
        self.classifier, self.encoder = mlp(COLUMNS, CLASSES), mlp(COLUMNS + CLASSES, 2 * LATENT)
        self.decoder = mlp(LATENT + CLASSES, COLUMNS)

    def joined(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """Columns of both, with broadcast leading axes."""
        lead = torch.broadcast_shapes(a.shape[:-1], b.shape[:-1])
        return torch.cat([a.expand(*lead, -1), b.expand(*lead, -1)], -1)

    def model(self, x: torch.Tensor, y: torch.Tensor | None = None) -> None:
        """p(y) p(z) p(x | y, z)."""
        pyro.module("m2", self)
        with pyro.plate("rows", len(x)):
            y = pyro.sample("y", dist.OneHotCategorical(x.new_ones(CLASSES) / CLASSES), obs=y)
            z = pyro.sample("z", dist.Normal(x.new_zeros(LATENT), x.new_ones(LATENT)).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=self.decoder(self.joined(z, y))).to_event(1), obs=x)

    def guide(self, x: torch.Tensor, y: torch.Tensor | None = None) -> None:
        """q(y | x) q(z | x, y)."""
        with pyro.plate("rows", len(x)):
            if y is None:
                y = pyro.sample("y", dist.OneHotCategorical(logits=self.classifier(x)))
            mean, log_var = self.encoder(self.joined(x, y)).chunk(2, -1)
            pyro.sample("z", dist.Normal(mean, torch.exp(0.5 * log_var)).to_event(1))


class PyroTrainer:
    """Train a ``PyroM2``: one Adam step on the sum of the three terms.

    TraceEnum_ELBO enumerates y in parallel; JitTraceEnum_ELBO took almost three times as long (87 s against 31 s).
    """

    def __init__(self, rate: float, classification_weight: float, seed: int, device: str = "cpu") -> None:
        pyro.clear_param_store()
        pyro.set_rng_seed(seed)
        self.m2, self.classification_weight = PyroM2().to(device), classification_weight
        self.optimizer = torch.optim.Adam(self.m2.parameters(), lr=rate)
        self.enumerated_guide = config_enumerate(self.m2.guide, "parallel", expand=True)
        self.unlabeled, self.labeled = TraceEnum_ELBO(max_plate_nesting=1), Trace_ELBO(max_plate_nesting=1)

    def step(self, x: torch.Tensor, x_l: torch.Tensor, y_l: torch.Tensor) -> None:
        """Update the weights by unlabeled rows, labeled rows and their labels."""
        m2, one_hot = self.m2, torch.nn.functional.one_hot(y_l, CLASSES).float()
        loss = self.unlabeled.differentiable_loss(m2.model, self.enumerated_guide, x) / len(x)
        loss = loss + self.labeled.differentiable_loss(m2.model, m2.guide, x_l, one_hot) / len(x_l)
        loss = loss + self.classification_weight * torch.nn.functional.cross_entropy(m2.classifier(x_l), y_l)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
