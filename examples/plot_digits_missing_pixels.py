"""
How do I fill missing cells?
============================

Scikit-learn's digits with 60% of the pixels missing at random, in the training rows as well. ``DLGM`` learns from the
observed pixels and fills the missing pixels of rows that it has not seen. Several draws show its uncertainty. The
example prints the root mean squared error of ``DLGM`` and of scikit-learn's imputers. It takes half a minute.
"""

# %%
# NaN marks a missing cell, in training and test rows.
import time
import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer
from sklearn.model_selection import train_test_split

from skdgm import DLGM
from skdgm.display import ImageGridDisplay

X = load_digits().data / 16
missing = np.random.default_rng(0).random(X.shape) < 0.6
X_train, X_test, hidden_train, hidden_test = train_test_split(X, missing, test_size=0.3, random_state=0)
holes_train, holes_test = np.where(hidden_train, np.nan, X_train), np.where(hidden_test, np.nan, X_test)

# %%
# Every method is fitted to the incomplete training rows.
METHODS = {
    "SimpleImputer": SimpleImputer(keep_empty_features=True),
    "KNNImputer": KNNImputer(keep_empty_features=True),
    "IterativeImputer": IterativeImputer(n_nearest_features=20, max_iter=5, tol=1, keep_empty_features=True),
    # the Gaussian likelihood matches the squared error that is measured
    "DLGM": DLGM(n_components=10, likelihood="gaussian", n_importance_samples=200, random_state=0),
}


def filled_by(model):
    """Return the completed test rows, and the seconds taken by fitting and filling."""
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # IterativeImputer stops after max_iter rounds
        model.fit(holes_train)
    filled = model.impute(holes_test) if hasattr(model, "impute") else model.transform(holes_test)
    return filled, time.perf_counter() - start


filled = {}
print(f"{'method':<18}{'RMSE of missing pixels':>24}{'seconds':>10}")
for name, model in METHODS.items():
    filled[name], seconds = filled_by(model)
    error = np.sqrt(np.mean((filled[name] - X_test)[hidden_test] ** 2))
    print(f"{name:<18}{error:>24.3f}{seconds:>10.1f}")

# %%
# From top to bottom: the true row, the observed pixels, the rows filled by KNNImputer and by DLGM's conditional mean,
# and three draws from DLGM.
draws = METHODS["DLGM"].impute(holes_test[:10], n_draws=3, random_state=0)
rows = [X_test[:10], np.nan_to_num(holes_test[:10], nan=0.5), filled["KNNImputer"][:10], filled["DLGM"][:10], *draws]
labels = ["truth", "seen", "KNNImputer", "DLGM, mean", "draw 1", "draw 2", "draw 3"]
ImageGridDisplay.from_data(np.concatenate(rows), image_shape=(8, 8), n_columns=10, row_labels=labels)
plt.show()
