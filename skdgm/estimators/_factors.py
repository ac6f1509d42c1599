"""Factor analysis of a table's real columns, with as many factors as rows held out agree with."""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.decomposition import FactorAnalysis
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import cross_val_score

# What one fit reads and how long it goes on: a place to begin training from need not be exact.
MAX_ROWS, MAX_ITER, FOLDS = 1_000, 100, 3
CANDIDATES = (1, 2, 3, 5, 8, 13, 20, 30, 50)
MAX_DISTANCE, MAX_STANDARDIZED, JITTER = 3.0, 10.0, 0.03
N_PSEUDO_ROWS = 1  # of variance 1 in every column


def factor_analysis(x: np.ndarray, most: int, random: np.random.RandomState) -> FactorAnalysis:
    """Fit standardized rows; missing cells count as the middle of their column, far ones as less far.

    Parameters
    ----------
    x : ndarray of shape (n_samples, n_columns)
        At least 4 rows and 2 columns.
    most : int
        Largest number of factors.
    random : RandomState
        Draws the rows that are read, and their folds.

    Returns
    -------
    FactorAnalysis
        With the number of factors, from 1 to ``most``, of the highest cross-validated log-likelihood.
    """
    chosen = random.permutation(len(x))[:MAX_ROWS]
    uncut = np.nan_to_num(x[chosen].astype(np.float64))
    rows = np.clip(uncut, -MAX_DISTANCE, MAX_DISTANCE)
    rows += JITTER * random.standard_normal(rows.shape)  # a constant column has a variance of its own, in every fold
    most = min(most, rows.shape[1] - 1, len(rows) * (FOLDS - 1) // FOLDS - 1)
    candidates = sorted({min(n, most) for n in (*CANDIDATES, most)})
    models = [FactorAnalysis(n, max_iter=MAX_ITER, random_state=0) for n in candidates]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        scores = [cross_val_score(model, rows, cv=FOLDS).mean() for model in models]
        model = models[int(np.argmax(scores))].fit(rows)
    # what was cut off still is variance of its column, else a cell that few rows hold would have next to no density
    cut_off = np.clip(uncut, -MAX_STANDARDIZED, MAX_STANDARDIZED).var(0) - rows.var(0)
    variance = np.maximum(model.noise_variance_, JITTER**2) + np.maximum(cut_off, 0)
    model.noise_variance_ = (len(rows) * variance + N_PSEUDO_ROWS) / (len(rows) + N_PSEUDO_ROWS)
    return model
