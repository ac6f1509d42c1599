"""
Can a style be carried over to another class?
=============================================

``M2Classifier`` splits an image into its class and a code of all else: slant, width, stroke. Keep the code, change the
class, and decode: the same hand writes the other digits. The model learned from 100 labels and 1,697 unlabeled rows.
"""

# %%
import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning

from skdgm import M2Classifier
from skdgm.datasets import mask_labels
from skdgm.display import AnalogyDisplay

warnings.simplefilter("ignore", ConvergenceWarning)  # short fits keep the example quick
X, y = load_digits(return_X_y=True)
m2 = M2Classifier(likelihood="gaussian", max_iter=60, random_state=0).fit(X / 16, mask_labels(y, 100, random_state=0))

# %%
# The first column holds rows of the data, one per class, and each row shows their style in all classes. Look for
# strokes that are thick, narrow, or slanted throughout a row.
styles = [np.flatnonzero(y == digit)[7] for digit in range(10)]
display = AnalogyDisplay.from_estimator(m2, X[styles] / 16)
display.ax_.axvline(8, color="white", linewidth=6)
display.ax_.set_title("a digit of the data, and its style in every class")
plt.show()
