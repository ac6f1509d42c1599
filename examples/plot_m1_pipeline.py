"""
Can a classifier read rows with missing cells by the codes of a VAE?
====================================================================

``VAE`` is a transformer, so it can stand in a ``Pipeline`` in front of any classifier. It learns from all rows, labeled
or not, and reads missing cells as they are. ``M1Classifier`` packs the two steps into one estimator. The rows are
scikit-learn's digits with 60 % of the pixels missing, and 100 labels.
"""

# %%
# Missing cells are NaN, in training and test rows. What learns without labels is fitted to all training rows, and
# frozen: the pipelines do not fit it again.
import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.frozen import FrozenEstimator
from sklearn.impute import KNNImputer, SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline

from skdgm import VAE, M1Classifier
from skdgm.datasets import mask_labels
from skdgm.display import AccuracyBarDisplay

warnings.simplefilter("ignore", ConvergenceWarning)  # short fits keep the example quick
X, y = load_digits(return_X_y=True)
holes = np.where(np.random.default_rng(0).random(X.shape) < 0.6, np.nan, X / 16)
X_train, X_test, y_train, y_test = train_test_split(holes, y, test_size=0.3, stratify=y, random_state=0)
mean = FrozenEstimator(SimpleImputer(keep_empty_features=True).fit(X_train))
nearest = FrozenEstimator(KNNImputer(keep_empty_features=True).fit(X_train))
vae = FrozenEstimator(VAE(20, max_iter=80, random_state=0).fit(X_train))

# %%
# A ``Pipeline`` of scikit-learn is fitted to the labeled rows. ``M1Classifier`` takes all rows; with
# ``passthrough=False`` its classifier reads the codes only.
linear = LogisticRegression(max_iter=1000)
METHODS = {
    "Pipeline(SimpleImputer, linear)": make_pipeline(mean, linear),
    "Pipeline(KNNImputer, linear)": make_pipeline(nearest, linear),
    "Pipeline(VAE, linear)": make_pipeline(vae, linear),
    "M1Classifier(linear, VAE)": M1Classifier(linear, encoder=vae, passthrough=False),
}


def accuracy(model, seed):
    """Fit to ten labels per class, drawn by ``seed``, and return the accuracy on held-out rows."""
    y_few = mask_labels(y_train, 100, random_state=seed)
    rows = slice(None) if isinstance(model, M1Classifier) else y_few != -1
    return model.fit(X_train[rows], y_few[rows]).score(X_test, y_test)


scores = np.array([[accuracy(model, seed) for seed in range(8)] for model in METHODS.values()])

# %%
# Each dot is one of eight draws of the labels.
display = AccuracyBarDisplay.from_data(list(METHODS), scores)
display.ax_.set_title("Digits with 60 % of the pixels missing, 100 labels")
plt.show()
