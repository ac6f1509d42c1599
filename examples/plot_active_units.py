"""
How many latent dimensions do I need?
=====================================

Fewer than you may think, and too many do little harm: a ``VAE`` does not use dimensions that do not pay. The KL
divergence of a dimension from its prior is what it costs; for an unused one it is 0. The example fits scikit-learn's
digits with 2, 8, and 32 dimensions.
"""

# %%
import warnings

import matplotlib.pyplot as plt
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split

from skdgm import VAE
from skdgm.display import LatentKLDisplay, ReconstructionDisplay

warnings.simplefilter("ignore", ConvergenceWarning)  # short fits keep the example quick
X_train, X_test = train_test_split(load_digits().data / 16, test_size=0.3, random_state=0)
models = [VAE(n, prior="normal", max_iter=100, random_state=0).fit(X_train) for n in (2, 8, 32)]

# %%
# Above, the KL of each dimension; below, what is left of eight held-out digits.
figure, axes = plt.subplots(2, 3, figsize=(12, 5), height_ratios=[2.2, 1], layout="constrained")
for (upper, lower), model in zip(axes.T, models, strict=True):
    LatentKLDisplay.from_estimator(model, X_test, ax=upper)
    upper.set_xticks([])
    upper.set(xlabel="latent dimensions", title=f"{model.n_components} dimensions: {model.score(X_test):.1f} nats")
    ReconstructionDisplay.from_estimator(model, X_test[:8], ax=lower)
plt.show()
