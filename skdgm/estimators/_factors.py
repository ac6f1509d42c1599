"""Factor analysis of real-valued columns, with the number of factors chosen by cross-validation."""

from __future__ import annotations

import numpy as np
from sklearn.decomposition import FactorAnalysis
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import cross_val_score

from skdgm._warnings import ignored

# Limits of one fit: it only initializes training, so it need not be exact.
MAX_ROWS = 1_000
MAX_ITER = 100
# With more columns than this, cross-validation takes too long: use one factor per this many rows instead.
WIDE = 500
ROWS_PER_FACTOR_IF_WIDE = 20
FOLDS = 3
# Numbers of factors that cross-validation compares.
CANDIDATES = (1, 2, 3, 5, 8, 13, 20, 30, 50)
# Distance from the median, in scales, at which cells are clipped for the loadings, and for the variances.
MAX_DISTANCE = 3.0
MAX_DISTANCE_FOR_VARIANCES = 10.0
# sd of the noise that gives a constant column a variance.
JITTER = 0.03
# Number of added rows with variance 1 in every column.
N_PSEUDO_ROWS = 1


def factor_analysis(x: np.ndarray, max_factors: int, random: np.random.RandomState) -> FactorAnalysis:
    """Fit factor analysis to standardized rows; set missing cells to the median, and clip outliers.

    Parameters
    ----------
    x : ndarray of shape (n_samples, n_columns)
        At least 4 rows and 2 columns.
    max_factors : int
        Maximum number of factors.
    random : RandomState
        Draws the rows to read, and their folds.

    Returns
    -------
    FactorAnalysis
        The number of factors, from 1 to ``max_factors``, has the highest cross-validated log-likelihood. With more than
        500 columns it is one factor per 20 rows instead.
    """
    chosen = random.permutation(len(x))[:MAX_ROWS]
    uncut = np.nan_to_num(x[chosen].astype(np.float64))
    rows = np.clip(uncut, -MAX_DISTANCE, MAX_DISTANCE)
    rows += JITTER * random.standard_normal(rows.shape)  # gives constant columns some variance in every fold
    max_factors = min(max_factors, rows.shape[1] - 1, len(rows) * (FOLDS - 1) // FOLDS - 1)
    candidates = sorted({min(n, max_factors) for n in (*CANDIDATES, max_factors)})
    if rows.shape[1] > WIDE:
        candidates = [min(max_factors, max(1, len(rows) // ROWS_PER_FACTOR_IF_WIDE))]
    models = [FactorAnalysis(n, max_iter=MAX_ITER, random_state=0) for n in candidates]
    with ignored(ConvergenceWarning):
        scores = [cross_val_score(model, rows, cv=FOLDS).mean() for model in models] if len(models) > 1 else [0.0]
        model = models[int(np.argmax(scores))].fit(rows)
    # add back the variance that clipping removed: otherwise a value that few rows have would get almost no density
    cut_off = np.clip(uncut, -MAX_DISTANCE_FOR_VARIANCES, MAX_DISTANCE_FOR_VARIANCES).var(0) - rows.var(0)
    variance = np.maximum(model.noise_variance_, JITTER**2) + np.maximum(cut_off, 0)
    model.noise_variance_ = (len(rows) * variance + N_PSEUDO_ROWS) / (len(rows) + N_PSEUDO_ROWS)
    return model
