"""
What lies between two digits?
=============================

A ``VAE`` with a code of two dimensions can be looked at as a whole: decode a grid of codes, and neighbors on the grid
blend into each other. The grid is even in probability, so each image stands for the same share of what the model
generates. That takes codes that fill one normal distribution, which is ``prior="normal"``.
"""

# %%
import warnings

import matplotlib.pyplot as plt
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning

from skdgm import VAE
from skdgm.display import LatentMapDisplay, ManifoldDisplay

warnings.simplefilter("ignore", ConvergenceWarning)  # short fits keep the example quick
X, y = load_digits(return_X_y=True)
vae = VAE(2, prior="normal", max_iter=250, random_state=0).fit(X / 16)

# %%
# On the left, where the rows lie; on the right, what the decoder makes of each place. Both have the same axes.
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 5.2), layout="constrained", width_ratios=[1.1, 1])
LatentMapDisplay.from_estimator(vae, X / 16, y, ax=left)
ManifoldDisplay.from_estimator(vae, n=11, ax=right)
left.set_title("codes of 1,797 digits")
right.set_title("decoded grid of codes")
plt.show()
