"""
Can I trust the probabilities?
==============================

A classifier that says 90% should be right in nine of ten cases. ``ReliabilityDisplay`` checks this for any number of
classes: it compares the probability of the predicted class with the accuracy. Here are three classifiers of
scikit-learn's digits with 100 labels.
"""

# %%
# Naive Bayes is the classic case of a classifier that is too certain: it multiplies the evidence of pixels as if they
# were independent. ``M2Classifier`` also models the pixels, but as far as the class and a code explain them together.
import warnings

import matplotlib.pyplot as plt
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.naive_bayes import GaussianNB

from skdgm import M2Classifier
from skdgm.datasets import mask_labels
from skdgm.display import ReliabilityDisplay

warnings.simplefilter("ignore", ConvergenceWarning)  # short fits keep the example quick
X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X / 16, y, test_size=0.5, stratify=y, random_state=0)
y_few = mask_labels(y_train, 100, random_state=0)
labeled = y_few != -1
models = {
    "GaussianNB": GaussianNB(var_smoothing=1e-3).fit(X_train[labeled], y_few[labeled]),
    "LogisticRegression": LogisticRegression(max_iter=1000).fit(X_train[labeled], y_few[labeled]),
    "M2Classifier": M2Classifier(max_iter=40, random_state=0).fit(X_train, y_few),
}

# %%
# Each point is a sixth of the held-out rows, with the 95% interval of its accuracy. Points below the diagonal are too
# certain, points above it too timid. The calibration error is the mean distance from the diagonal. If a
# ``M2Classifier`` is too certain, which happens with even fewer labels, ``calibration_cv`` corrects it.
figure, ax = plt.subplots(figsize=(7, 4.4), layout="constrained")
for name, model in models.items():
    ReliabilityDisplay.from_estimator(model, X_test, y_test, name=name, n_bins=6, strategy="quantile", ax=ax)
    print(f"{name:22s} accuracy {100 * model.score(X_test, y_test):.1f} %")
ax.set_title("Digits, 100 labels: certainty and accuracy of held-out rows")
plt.show()
