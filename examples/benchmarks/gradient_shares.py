"""Does one column drown the others? The share of each column in the gradient of a VAE, over mixed tables.

A VAE with defaults is fitted for 60 epochs. The gradient of a column is that of E_q[log p(x_j | z)], averaged over at
most 1,000 rows, with respect to the encoder, which all columns share. A column's share is the norm of its gradient
over the sum of the norms of all columns; with d equal columns it is 1 / d.

    SKDGM_DATA=... python examples/benchmarks/gradient_shares.py
"""

from __future__ import annotations

import os
import sys

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy and torch are loaded

import json
import warnings
from pathlib import Path

import numpy as np
import torch
from _frames import load_frame
from sklearn.exceptions import ConvergenceWarning

from skdgm import VAE

RESULTS = Path(__file__).parent / "results" / "gradient_shares.json"
TABLES = ("penguins", "german_credit", "horse_colic", "breast_cancer_recurrence", "pima_diabetes", "adult")
N_EPOCHS, N_ROWS, MAX_TRAIN = 60, 1000, 5000


def shares(model: VAE, rows: np.ndarray) -> np.ndarray:
    """The share of each column in the gradient of the encoder, (n_columns,)."""
    module = model.module_.requires_grad_(True)
    x = torch.from_numpy(model._columns.transform(rows).astype(np.float32))
    observed = ~torch.isnan(x)
    x = torch.where(observed, x, 0.0)
    z = module.q_z(x, observed).rsample(torch.Generator().manual_seed(0))
    norms = []
    for column in range(x.shape[1]):
        alone = observed & (torch.arange(x.shape[1]) == column)
        log_p = module.p_x(z, alone).log_prob(x).mean()
        gradient = torch.autograd.grad(log_p, list(module.encoder.parameters()), retain_graph=True, allow_unused=True)
        norms.append(torch.sqrt(sum((g**2).sum() for g in gradient if g is not None)).item())
    return np.array(norms) / np.sum(norms)


def main() -> None:
    """Print and write the largest shares of each table."""
    results = {}
    for table in TABLES:
        X, _ = load_frame(table)
        X = X.sample(min(len(X), MAX_TRAIN), random_state=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model = VAE(max_iter=N_EPOCHS, random_state=0).fit(X)
        share = shares(model, model._read(X)[:N_ROWS])
        order = np.argsort(-share)[:3]
        top = {str(X.columns[j]): round(float(share[j]), 3) for j in order}
        results[table] = {"n_columns": X.shape[1], "equal_share": round(1 / X.shape[1], 3), "largest": top}
        print(table, results[table], flush=True)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", "utf8")


if __name__ == "__main__":
    sys.exit(main())
