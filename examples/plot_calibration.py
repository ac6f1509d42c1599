"""
Can I trust the probabilities?
==============================

A classifier that says 90 % should be right in nine of ten cases. ``ReliabilityDisplay`` checks this for any number of
classes: it compares the probability of the predicted class with the accuracy. Few labels make a classifier too certain
or too timid; ``calibration_cv`` of ``M2Classifier`` corrects that by cross-validation over the labels.
"""

# %%
# Digits, 100 labels. Naive Bayes on the labeled rows is the classic case of a classifier that is too certain.
import warnings

import matplotlib.pyplot as plt
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
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
    "M2": M2Classifier(max_iter=40, random_state=0).fit(X_train, y_few),
    "M2, calibration_cv=3": M2Classifier(max_iter=40, calibration_cv=3, random_state=0).fit(X_train, y_few),
}

# %%
# Bars are 95 % intervals. The error is the mean distance from the diagonal, weighted by the number of rows.
figure, ax = plt.subplots(figsize=(6, 5), layout="constrained")
for name, model in models.items():
    ReliabilityDisplay.from_estimator(model, X_test, y_test, name=name, n_bins=8, ax=ax)
    print(f"{name:22s} accuracy {100 * model.score(X_test, y_test):.1f} %")
ax.set_title("Digits, 100 labels: certainty and accuracy on held-out rows")
plt.show()
