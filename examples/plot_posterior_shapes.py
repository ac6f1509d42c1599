"""
Which shape of posterior do I need?
===================================

The encoder of a ``DLGM`` describes the code of each row by a normal distribution: ``posterior="diagonal"`` with
independent dimensions, "low_rank" and "full" with correlations. The exact posterior need not be normal at all. With a
code of two dimensions it can be computed on a grid, so this example shows both.
"""

# %%
# A toy: a position in the plane, read by five gauges. Each gauge shows in eight binary cells how far the position is
# along its own direction. Most gauges are missing (NaN) in a row. A row with one gauge says much about one direction
# and nothing about the other, so its posterior is a narrow ellipse along that gauge's line.
import warnings

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning

from skdgm import DLGM
from skdgm.display import PosteriorDisplay

warnings.simplefilter("ignore", ConvergenceWarning)  # short fits keep the example quick
N_ROWS, N_GAUGES = 3000, 5
rng = np.random.default_rng(0)
angles = np.pi * np.arange(N_GAUGES) / N_GAUGES
directions = np.stack([np.cos(angles), np.sin(angles)])
reading = rng.standard_normal((N_ROWS, 2)) @ directions
logits = 8 * (reading[:, :, None] - np.linspace(-1.5, 1.5, 8))
X = (rng.random(logits.shape) < 1 / (1 + np.exp(-logits))).astype(float)
seen = rng.random((N_ROWS, N_GAUGES)) < 0.4
X[~seen] = np.nan
X = X.reshape(N_ROWS, -1)

models = {
    shape: DLGM(2, prior="normal", posterior=shape, hidden_layer_sizes=(100,), max_iter=50, random_state=0).fit(X)
    for shape in ("diagonal", "low_rank", "full")
}

# %%
# log p(x, z) of the fitted decoder on a grid, by way of the model's module.
grid = np.linspace(-3.5, 3.5, 141)
Z = torch.tensor(np.stack(np.meshgrid(grid, grid), -1).reshape(-1, 1, 2), dtype=torch.float32)


def log_joint(model, row):
    """log p(x, z) of the observed cells of a row at all codes of the grid, up to a constant."""
    x, observed = torch.tensor(np.nan_to_num(row[None]), dtype=torch.float32), torch.tensor(~np.isnan(row[None]))
    with torch.no_grad():
        log_p_x = model.module_.p_x(Z, observed).log_prob(x)
    return (log_p_x[:, 0] - 0.5 * (Z**2).sum((1, 2))).numpy().reshape(len(grid), len(grid))


# %%
# Blue, the exact posterior; orange, the encoder's. The number is the KL divergence between them, in nats: what the
# bound loses for this row. A diagonal posterior can only narrow the axes of the code. (Each model has turned the plane
# in its own way, so the ellipses of a column point in different directions.)
rows = np.array([X[(seen.sum(1) == 1) & seen[:, gauge]][0] for gauge in range(4)])
figure, axes = plt.subplots(3, 4, figsize=(9, 7.4), sharex=True, sharey=True, layout="constrained")
for line, (shape, model) in zip(axes, models.items(), strict=True):
    means, covariances = model.posterior_moments(rows)
    for ax, row, mean, covariance in zip(line, rows, means, covariances, strict=True):
        moments = {"mean": mean, "covariance": covariance}
        display = PosteriorDisplay.from_log_density(grid, grid, log_joint(model, row), **moments, ax=ax)
        ax.set_title(f"{display.divergence:.2f} nats", fontsize=10)
    line[0].set_ylabel(f'posterior="{shape}"')
    print(f"{shape:10s} bound {model.elbo_samples(X).mean():.2f} nats, log-density {model.score(X):.2f} nats per row")
figure.suptitle("exact posteriors of four rows with one gauge, and the encoder's normal distributions")
plt.show()
