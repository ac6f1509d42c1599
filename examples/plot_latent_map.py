"""
What does a model see in my rows?
=================================

The code of a row is what a ``VAE`` keeps of it. A map of the codes, colored by classes that the model has never seen,
shows which rows it takes for similar. Here are scikit-learn's digits: a model with a two-dimensional code, and one with
ten dimensions, drawn along its two principal components.
"""

# %%
import warnings

import matplotlib.pyplot as plt
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split

from skdgm import VAE
from skdgm.display import LatentMapDisplay

warnings.simplefilter("ignore", ConvergenceWarning)  # short fits keep the example quick
X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X / 16, y, test_size=0.4, stratify=y, random_state=0)
models = [VAE(n, max_iter=150, random_state=0).fit(X_train) for n in (2, 10)]

# %%
# The rows are held-out ones. ``projection="umap"`` would draw the ten dimensions by umap-learn, if that is installed,
# and any function from codes to two columns, such as ``TSNE().fit_transform``, is welcome, too.
figure, axes = plt.subplots(1, 2, figsize=(11, 4.8), layout="constrained")
LatentMapDisplay.from_estimator(models[0], X_test, y_test, projection=None, ax=axes[0])
LatentMapDisplay.from_estimator(models[1], X_test, y_test, projection="pca", ax=axes[1])
axes[0].get_legend().remove()
for ax, model in zip(axes, models, strict=True):
    bound = model.elbo_samples(X_test).mean()
    ax.set_title(f"code of {model.n_components} dimensions (bound: {bound:.1f} nats per held-out row)", fontsize=11)
plt.show()
