"""
What is a deep generative model good for?
=========================================

A model of all columns, labeled and unlabeled rows alike, can classify, draw new rows, and fill missing cells. Here are
all three, on scikit-learn's digits with 50 labels among 1,797 rows.
"""

# %%
# Two models: ``VAE`` learns without labels, ``M2Classifier`` from all rows and 50 labels; -1 marks the other rows.
import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning

from skdgm import VAE, M2Classifier
from skdgm.datasets import mask_labels
from skdgm.display import ConditionalSamplesDisplay, ImputationDisplay, LatentMapDisplay

warnings.simplefilter("ignore", ConvergenceWarning)  # short fits keep the example quick
X, y = load_digits(return_X_y=True)
X = X / 16
y_few = mask_labels(y, 50, random_state=0)
vae = VAE(2, max_iter=150, random_state=0).fit(X)
m2 = M2Classifier(likelihood="gaussian", max_iter=60, random_state=0).fit(X, y_few)
unlabeled = y_few == -1
accuracy = m2.score(X[unlabeled], y[unlabeled])
print(f"accuracy on the unlabeled rows: {100 * accuracy:.1f}%")

# %%
# The map shows the rows where the ``VAE`` puts them; the labeled ones are colored. The other two panels are by
# ``M2Classifier``.
chosen = [np.flatnonzero(y == digit)[3] for digit in range(0, 10, 2)]
holes = X[chosen]
holes[:, 32:] = np.nan
figure, axes = plt.subplots(1, 3, figsize=(12, 4.2), width_ratios=[1.25, 1, 1.1], layout="constrained")
LatentMapDisplay.from_estimator(vae, X, y_few, ax=axes[0])
ConditionalSamplesDisplay.from_estimator(m2, n_per_class=9, limits=(0, 1), random_state=0, ax=axes[1])
ImputationDisplay.from_estimator(m2, holes, X_true=X[chosen], n_draws=1, random_state=0, ax=axes[2])
axes[0].set_title(f"learn from 50 labels: {100 * accuracy:.0f}% accuracy")
axes[1].set_title("draw rows of each class")
axes[2].set_title("fill missing cells")
plt.show()
