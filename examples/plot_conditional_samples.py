"""
Can a model draw a class of my choice?
======================================

``M2Classifier`` is a classifier and a generative model: after a fit to a few labels, ``sample(n, y=3)`` draws new
threes. The pictures below compare digits of the data with digits that the model invented.
"""

# %%
import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning

from skdgm import M2Classifier
from skdgm.datasets import mask_labels
from skdgm.display import ConditionalSamplesDisplay, ImageGridDisplay

warnings.simplefilter("ignore", ConvergenceWarning)  # short fits keep the example quick
X, y = load_digits(return_X_y=True)
m2 = M2Classifier(likelihood="gaussian", max_iter=60, random_state=0).fit(X / 16, mask_labels(y, 100, random_state=0))

# %%
# Rows are classes. On the right, each column is one style: the same code, decoded in every class. With ``mean=False``
# the display would show ``sample`` itself, which adds the noise of each pixel.
real = np.concatenate([X[y == digit][:8] / 16 for digit in range(10)])
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 6.4), layout="constrained")
ImageGridDisplay.from_data(real, n_columns=8, row_labels=[str(digit) for digit in range(10)], ax=left)
ConditionalSamplesDisplay.from_estimator(m2, n_per_class=8, limits=(0, 1), random_state=0, ax=right)
left.set_title("digits of the data")
right.set_title("digits of the model, a style per column")
plt.show()
