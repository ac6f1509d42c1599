"""
Do the codes of a VAE help my own classifier?
=============================================

``VAE`` is a transformer, so it can stand in a ``Pipeline`` where ``PCA`` stands. It learns from all rows, labeled or
not. ``M1Classifier`` packs the two steps into one estimator that reads -1 as unlabeled. This example classifies
scikit-learn's digits by their nearest neighbors, from five labels per class.
"""

# %%
# Both transformers are fitted once to all training rows, and frozen: what follows does not fit them again.
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline

from skdgm import VAE, M1Classifier
from skdgm.datasets import mask_labels
from skdgm.display import AccuracyBarDisplay

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X / 16, y, test_size=0.4, stratify=y, random_state=0)
pca = FrozenEstimator(PCA(10).fit(X_train))
vae = FrozenEstimator(VAE(10, likelihood="gaussian", max_iter=150, random_state=0).fit(X_train))

# %%
# With a frozen transformer, a plain ``Pipeline`` of scikit-learn can be fitted to the labeled rows only.
# ``M1Classifier`` takes all rows.
neighbors = KNeighborsClassifier(1)
METHODS = {
    "pixels": neighbors,
    "Pipeline(PCA, neighbors)": make_pipeline(pca, neighbors),
    "Pipeline(VAE, neighbors)": make_pipeline(vae, neighbors),
    "M1Classifier: codes and pixels": M1Classifier(neighbors, encoder=vae),
}


def accuracy(model, seed):
    """Fit to five labels per class, drawn by ``seed``, and return the accuracy on held-out rows."""
    y_few = mask_labels(y_train, 50, random_state=seed)
    rows = slice(None) if isinstance(model, M1Classifier) else y_few != -1
    return model.fit(X_train[rows], y_few[rows]).score(X_test, y_test)


scores = np.array([[accuracy(model, seed) for seed in range(20)] for model in METHODS.values()])

# %%
# Each dot is one of 20 draws of the labels.
display = AccuracyBarDisplay.from_data(list(METHODS), scores)
display.ax_.set_title("Digits by their nearest labeled neighbor, 50 labels")
plt.show()
