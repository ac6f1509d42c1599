"""
How many labels does it take?
=============================

A classifier that also reads unlabeled rows should need fewer labels. Here scikit-learn's digits keep 10 to 200 labels;
the other 1,000 training rows are unlabeled. ``LogisticRegression`` learns from the labeled rows only, while
``SelfTrainingClassifier``, ``LabelSpreading``, and ``M2Classifier`` read all of them.
"""

# %%
# Two splits per number of labels. ``mask_labels`` keeps the same number of labels in each class and marks all other
# rows by -1. Short fits suffice to see the difference; the default of ``max_iter`` would train for longer.
import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import LearningCurveDisplay, train_test_split
from sklearn.semi_supervised import LabelSpreading, SelfTrainingClassifier

from skdgm import M2Classifier
from skdgm.datasets import mask_labels

warnings.simplefilter(
    "ignore"
)  # short fits say that the bound still rose; LabelSpreading divides by 0 where no label is

N_LABELED = [10, 30, 100, 200]
METHODS = {
    "LogisticRegression, labeled rows only": LogisticRegression(max_iter=1000),
    "SelfTrainingClassifier": SelfTrainingClassifier(LogisticRegression(max_iter=1000)),
    "LabelSpreading": LabelSpreading(kernel="knn", n_neighbors=7),
    "M2Classifier": M2Classifier(max_iter=20, random_state=0),
}
X, y = load_digits(return_X_y=True)
X = X / 16  # gray values in [0, 1]


def accuracy(model, n_labeled, seed):
    """Fit to a few labels, and return the accuracy on held-out rows."""
    X_train, X_test, y_train, y_test = train_test_split(X, y, train_size=1000, stratify=y, random_state=seed)
    y_few = mask_labels(y_train, n_labeled, random_state=seed)
    rows = y_few != -1 if isinstance(model, LogisticRegression) else slice(None)
    return model.fit(X_train[rows], y_few[rows]).score(X_test, y_test)


scores = {
    name: np.array([[accuracy(model, n, seed) for seed in range(2)] for n in N_LABELED])
    for name, model in METHODS.items()
}

# %%
# scikit-learn's ``LearningCurveDisplay`` draws mean ± sd over the splits. ``M2Classifier`` is above logistic regression
# at every number of labels, and ``LabelSpreading`` above both: these images lie in clusters, which suits nearest
# neighbors. ``SelfTrainingClassifier`` may believe its own mistakes.
COLORS = ["#000000", "#CC79A7", "#E69F00", "#0072B2"]  # told apart by color-blind readers
figure, ax = plt.subplots(figsize=(7, 4.5), layout="constrained")
for (name, test_scores), color in zip(scores.items(), COLORS, strict=True):
    print(f"{name:38s}", *(f"{n}: {100 * mean:.1f}%" for n, mean in zip(N_LABELED, test_scores.mean(1), strict=True)))
    display = LearningCurveDisplay(
        train_sizes=np.array(N_LABELED), train_scores=test_scores, test_scores=test_scores, score_name="accuracy"
    )
    looks = {"line_kw": {"marker": "o", "color": color}, "fill_between_kw": {"alpha": 0.12, "color": color, "lw": 0}}
    display.plot(ax=ax, score_type="test", **looks)
    display.lines_[0].set_label(name)
ax.set(xscale="log", xlabel="labels among 1,000 training rows", ylabel="accuracy on 797 held-out rows")
ax.set_xticks(N_LABELED, labels=N_LABELED, minor=False)
ax.minorticks_off()
ax.set_title("Digits: what unlabeled rows add")
ax.legend(loc="lower right", frameon=False)
plt.show()
