"""
How sure is a model of what it fills in?
========================================

A mean hides its doubt; several draws show it. The lower halves of some digits are missing here. ``VAE`` fills them with
the mean of p(missing | observed), and with draws from it. The rows with missing pixels are not among those it was
fitted to.
"""

# %%
# Missing cells are NaN. ``input_noise="dropout"`` hides cells during training, so the encoder learns to read rows that
# miss many.
import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split

from skdgm import VAE
from skdgm.display import ImputationChainDisplay, ImputationDisplay

warnings.simplefilter("ignore", ConvergenceWarning)  # short fits keep the example quick
X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X / 16, y, test_size=0.2, stratify=y, random_state=0)
vae = VAE(10, likelihood="gaussian", input_noise="dropout", max_iter=150, random_state=0).fit(X_train)
chosen = [np.flatnonzero(y_test == digit)[1] for digit in range(10)]
X_true = X_test[chosen]
X_holes = X_true.copy()
X_holes[:, 32:] = np.nan

# %%
# Where the upper half leaves no doubt, the draws agree; where it fits several digits, they differ.
display = ImputationDisplay.from_estimator(vae, X_holes, X_true=X_true, n_draws=4, random_state=0)
display.ax_.set_title("missing lower halves, filled five times")
plt.show()

# %%
# The paper fills cells by a Markov chain, ``impute(X, method="chain")``: encode the row, draw a new one, put the
# observed pixels back, and again.
display = ImputationChainDisplay.from_estimator(vae, X_holes[:6], X_true=X_true[:6], random_state=0)
plt.show()
