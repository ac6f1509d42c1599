"""Factor analysis of real-valued columns, with the number of factors chosen by cross-validation."""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.decomposition import FactorAnalysis
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import cross_val_score

# Limits of one fit: it only initializes training, so it need not be exact.
MAX_ROWS, MAX_ITER, FOLDS = 1_000, 100, 3
CANDIDATES = (1, 2, 3, 5, 8, 13, 20, 30, 50)
MAX_DISTANCE, MAX_STANDARDIZED, JITTER = 3.0, 10.0, 0.03
N_PSEUDO_ROWS = 1  # with variance 1 in every column


def factor_analysis(x: np.ndarray, most: int, random: np.random.RandomState) -> FactorAnalysis:
    """Fit factor analysis to standardized rows; set missing cells to the median, and clip outliers.

    Parameters
    ----------
    x : ndarray of shape (n_samples, n_columns)
        At least 4 rows and 2 columns.
    most : int
        Maximum number of factors.
    random : RandomState
        Draws the rows to read, and their folds.

    Returns
    -------
    FactorAnalysis
        It has the number of factors, from 1 to ``most``, with the highest cross-validated log-likelihood.
    """
    chosen = random.permutation(len(x))[:MAX_ROWS]
    uncut = np.nan_to_num(x[chosen].astype(np.float64))
    rows = np.clip(uncut, -MAX_DISTANCE, MAX_DISTANCE)
    rows += JITTER * random.standard_normal(rows.shape)  # gives constant columns some variance in every fold
    most = min(most, rows.shape[1] - 1, len(rows) * (FOLDS - 1) // FOLDS - 1)
    candidates = sorted({min(n, most) for n in (*CANDIDATES, most)})
    models = [FactorAnalysis(n, max_iter=MAX_ITER, random_state=0) for n in candidates]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        scores = [cross_val_score(model, rows, cv=FOLDS).mean() for model in models]
        model = models[int(np.argmax(scores))].fit(rows)
    # add back the variance that clipping removed: otherwise a value that few rows have would get almost no density
    cut_off = np.clip(uncut, -MAX_STANDARDIZED, MAX_STANDARDIZED).var(0) - rows.var(0)
    variance = np.maximum(model.noise_variance_, JITTER**2) + np.maximum(cut_off, 0)
    model.noise_variance_ = (len(rows) * variance + N_PSEUDO_ROWS) / (len(rows) + N_PSEUDO_ROWS)
    return model
