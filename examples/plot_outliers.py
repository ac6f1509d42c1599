"""
Which rows do not belong?
=========================

A density model that was fitted to normal rows finds those that are unlike them: their log-density is low. Here ``VAE``
is fitted to benign tumors only, of scikit-learn's breast cancer data, and scores benign and malignant tumors that it
has not seen.
"""

# %%
# The same task for ``IsolationForest`` and ``GaussianMixture``.
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import IsolationForest
from sklearn.metrics import RocCurveDisplay
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import train_test_split

from skdgm import VAE
from skdgm.display import DensityHistogramDisplay

data = load_breast_cancer()
benign, malignant = data.data[data.target == 1], data.data[data.target == 0]
normal, held_out = train_test_split(benign, test_size=0.4, random_state=0)
models = {
    "VAE": VAE(random_state=0).fit(normal),
    "IsolationForest": IsolationForest(random_state=0).fit(normal),
    "GaussianMixture": GaussianMixture(random_state=0).fit(normal),
}

# %%
# On the left, log-densities of the ``VAE``; on the right, how well each model tells the two groups apart.
plt.style.use("tableau-colorblind10")
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.4), layout="constrained", width_ratios=[1.25, 1])
DensityHistogramDisplay.from_estimator(models["VAE"], {"benign, held out": held_out, "malignant": malignant}, ax=left)
left.legend(loc="upper center", frameon=False)
left.set_title("VAE fitted to benign tumors")
X, is_malignant = np.concatenate([held_out, malignant]), np.repeat([0, 1], [len(held_out), len(malignant)])
for name, model in models.items():
    RocCurveDisplay.from_predictions(is_malignant, -model.score_samples(X), name=name, ax=right)
right.set(
    title="malignant tumors found", xlabel="share of benign tumors flagged", ylabel="share of malignant tumors found"
)
plt.show()
