"""Training of RBMs: the gradient of log p(x) by hand, with the expectation under the model from Gibbs chains."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Generator, Tensor, nn

from skdgm.distributions import Bernoulli
from skdgm.likelihoods import bounded
from skdgm.models.centering import CenteredParameters
from skdgm.models.rbm import RBMModule
from skdgm.models.tempering import tempered_gibbs
from skdgm.noise import sample_bernoulli

# Number of rows per step to monitor; few, because the monitor must cost much less than the step.
N_MONITOR_ROWS = 10


class ContrastiveDivergence:
    """Objective with a hand-written gradient: that of log p(x), with the expectation under p from Gibbs sampling.

    Parameters
    ----------
    rbm : RBMModule
    n_steps : int
        Gibbs steps for the expectation: CD-k (Hinton 2002). More steps give less bias.
    persistent : bool
        Start from the last batch's samples instead of this batch's rows (Tieleman 2008).
    n_chains : int or None
        Number of persistent chains; None is one per row of the first batch.
    n_temperatures : int
        Number of temperatures of persistent chains; from 2 on they exchange their rows (Desjardins et al. 2010).
    b0 : Tensor of shape (n_columns,) or None
        Visible biases at the highest temperature, where columns are independent.
    centered : CenteredParameters or None
        What the gradients are written for, instead of the RBM's own parameters.
    """

    def __init__(
        self,
        rbm: RBMModule,
        n_steps: int = 1,
        persistent: bool = False,
        *,
        n_chains: int | None = None,
        n_temperatures: int = 1,
        b0: Tensor | None = None,
        centered: CenteredParameters | None = None,
    ) -> None:
        self.rbm, self.n_steps, self.persistent = rbm, n_steps, persistent
        self.n_chains, self.n_temperatures, self.b0, self.centered = n_chains, n_temperatures, b0, centered
        self.chains: Tensor | None = None

    def state_dict(self) -> dict[str, Tensor]:
        """The persistent chains."""
        return {} if self.chains is None else {"chains": self.chains}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Continue with other chains."""
        self.chains = state["chains"].to(self.rbm.W.device) if "chains" in state else None

    @property
    def trained(self) -> nn.Module:
        """The module that holds the parameters to train."""
        return self.rbm if self.centered is None else self.centered

    def update_rbm(self) -> None:
        """Make the RBM what the trained parameters mean; the optimizer does not change its biases if it is centered."""
        if self.centered is not None:
            self.centered.write_biases(self.rbm)

    @torch.no_grad()
    def __call__(self, x: Tensor, rng: Generator | None, weight: Tensor | None = None) -> Tensor:
        """Write the gradients of minus the mean log p(x), and return the monitor of some of the rows.

        The gradients and the monitor of all rows are multiplied by the mean ``weight``.
        """
        rbm = self.rbm
        self.update_rbm()
        h = rbm.q_h(x).mean
        self.write_gradients((x, h), self.model_means(h, rng))
        if self.centered is not None:
            self.centered.move_offset()
            self.centered.take_gradients(rbm)
        monitor = rbm.monitor(x[:N_MONITOR_ROWS], rng)
        if weight is None:
            return monitor
        for parameter in self.trained.parameters():
            if parameter.grad is not None:
                parameter.grad *= weight.mean()
        return monitor.mean().expand(len(x))

    def model_means(self, h: Tensor, rng: Generator | None) -> tuple[Tensor, Tensor]:
        """Draw x from the RBM, with E[h | x], by chains that start at codes with mean ``h`` or go on."""
        x, q_h = self.sampled(self.start(h, rng) if self.chains is None else self.chains, rng)
        mean = q_h.mean
        if self.persistent:
            self.go_on(sample_bernoulli(mean, rng))
        return (x, mean) if self.n_temperatures == 1 else (x[-1], mean[-1])

    def go_on(self, chains: Tensor) -> None:
        """Keep codes from which the next step starts, in the memory of the last ones: a recorded step reads there."""
        if self.chains is None or self.chains.shape != chains.shape:
            self.chains = chains
        else:
            self.chains.copy_(chains)

    def start(self, h: Tensor, rng: Generator | None) -> Tensor:
        """Draw the first codes of the chains from q(h | x) of the rows in turn, alike at all temperatures."""
        h = h if self.n_chains is None else h[torch.arange(self.n_chains, device=h.device) % len(h)]
        h = h if self.n_temperatures == 1 else h.expand(self.n_temperatures, *h.shape)
        return sample_bernoulli(h, rng)

    def sampled(self, h: Tensor, rng: Generator | None) -> tuple[Tensor, Bernoulli]:
        """The rows after ``n_steps`` of sampling from codes h, and the distribution of the next codes."""
        if self.n_temperatures == 1:
            return self.rbm.gibbs(h, self.n_steps, rng)
        assert self.b0 is not None, "tempered chains need the biases of independent columns"
        return tempered_gibbs(self.rbm, h, self.b0, self.n_steps, rng)

    def write_gradients(self, data: tuple[Tensor, Tensor], model: tuple[Tensor, Tensor]) -> None:
        """Set each ``grad`` to d(-log p)/d(parameter) = E_data[dE] - E_model[dE], from (x, E[h | x]) of both."""
        rbm = self.rbm
        (x, h), (model_x, model_h) = data, model
        model_hx = model_h.T @ model_x
        rbm.W.grad = rbm.scaled(torch.addmm(model_hx, h.T, x, beta=1 / len(model_x), alpha=-1 / len(x)).float())
        rbm.b.grad = rbm.scaled(model_x.mean(0) - x.mean(0))
        rbm.c.grad = model_h.mean(0) - h.mean(0)
        if not rbm.is_binary:
            rbm.log_var.grad = self.log_var_force(model_x, model_h) - self.log_var_force(x, h)

    def log_var_force(self, x: Tensor, h: Tensor) -> Tensor:
        """Mean of -dE/d(log s^2): ((x - b)^2 / 2 - x (h W)) / s^2."""
        rbm = self.rbm
        cells = 0.5 * (x - rbm.b) ** 2 - x * (h @ rbm.W)
        return (cells * torch.exp(-bounded(rbm.log_var))).mean(0)
