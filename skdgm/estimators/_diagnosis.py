"""What a fit warns about its data: dependent columns, and unlabeled rows unlike all labeled ones."""

from __future__ import annotations

import numpy as np
from sklearn.neighbors import NearestNeighbors

# Absolute correlation above which two columns surely depend on each other, and the number of columns to look at.
CLEAR_CORRELATION, MAX_COLUMNS = 0.5, 200
# A row is unlike the labeled rows if it is farther from each of them than this factor times the largest distance of a
# labeled row from its nearest other one. With fewer labels, distances between them say too little.
FACTOR_OF_DISTANCE, MIN_LABELED = 1.5, 20
# Largest share of such rows that is no reason for a warning; on tables whose labels cover all classes it was below.
MAX_SHARE_UNLIKE = 0.05


def are_dependent(x: np.ndarray) -> bool:
    """Tell whether the correlation of two columns is far beyond chance; missing cells count as the median."""
    x = np.nan_to_num(x)
    x = x[:, x.std(0) > 0][:, :MAX_COLUMNS]
    if x.shape[1] < 2:
        return False
    correlation = np.corrcoef(x, rowvar=False)
    return bool(np.abs(correlation[np.triu_indices_from(correlation, 1)]).max() > CLEAR_CORRELATION)


def share_unlike(labeled: np.ndarray, unlabeled: np.ndarray) -> float:
    """Share of the unlabeled rows that are far from all labeled rows; 0 for fewer than 20 different labeled rows.

    Parameters
    ----------
    labeled, unlabeled : ndarray of shape (n_labeled, n_columns) and (n_unlabeled, n_columns)
        Standardized rows.
    """
    labeled = np.unique(labeled, axis=0)  # the nearest row of a repeated row is itself
    if len(labeled) < MIN_LABELED or not len(unlabeled):
        return 0.0
    neighbors = NearestNeighbors(n_neighbors=1).fit(labeled)
    between_labeled, _ = neighbors.kneighbors()
    to_labeled, _ = neighbors.kneighbors(unlabeled)
    return float((to_labeled > FACTOR_OF_DISTANCE * between_labeled.max()).mean())
