"""
Do the codes of a VAE help my own classifier?
=============================================

``VAE`` is a transformer, so it can stand in a ``Pipeline`` where ``PCA`` stands; unlike the classifier behind it, it
learns from all rows, labeled or not. ``M1Classifier`` packs both into one estimator that reads -1 as unlabeled, and
lets the classifier read the columns beside the codes. This example compares them for an ``SVC`` on scikit-learn's
digits, with five labels per class.
"""

# %%
# Both transformers are fitted once to all training rows, and frozen: what follows does not fit them again.
import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC

from skdgm import VAE, M1Classifier
from skdgm.datasets import mask_labels
from skdgm.display import AccuracyBarDisplay

warnings.simplefilter("ignore", ConvergenceWarning)  # short fits keep the example quick
X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X / 16, y, test_size=0.4, stratify=y, random_state=0)
pca = FrozenEstimator(PCA(10).fit(X_train))
vae = FrozenEstimator(VAE(20, max_iter=150, random_state=0).fit(X_train))

# %%
# With a frozen transformer, a ``Pipeline`` of scikit-learn can be fitted to the labeled rows only. ``M1Classifier``
# takes all rows.
METHODS = {
    "SVC on pixels": SVC(C=10),
    "Pipeline(PCA, SVC)": make_pipeline(pca, SVC(C=10)),
    "Pipeline(VAE, SVC)": make_pipeline(vae, SVC(C=10)),
    "M1Classifier(SVC, VAE)": M1Classifier(SVC(C=10), encoder=vae),
}


def accuracy(model, seed):
    """Fit to five labels per class, drawn by ``seed``, and return the accuracy on held-out rows."""
    y_few = mask_labels(y_train, 50, random_state=seed)
    rows = slice(None) if isinstance(model, M1Classifier) else y_few != -1
    return model.fit(X_train[rows], y_few[rows]).score(X_test, y_test)


scores = np.array([[accuracy(model, seed) for seed in range(15)] for model in METHODS.values()])

# %%
# Each dot is one of 15 draws of the labels. By themselves, the codes have lost some of what the labels depend on, as
# have principal components; beside the pixels, they add a little.
display = AccuracyBarDisplay.from_data(list(METHODS), scores)
display.ax_.set_title("Digits, 50 labels: what the SVC reads, and how well")
plt.show()
