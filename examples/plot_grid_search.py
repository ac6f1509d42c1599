"""
Why are the scores of my grid search so low when most labels are -1?
====================================================================

scikit-learn's splitters put unlabeled rows into test folds, and its scorers count each of them as a wrong prediction:
-1 is a class to them. The scores of a search then say how many rows are labeled rather than how good a model is. The
splitter and the scorer of :mod:`skdgm.model_selection` test labeled rows only, and train on all others.
"""

# %%
# Wine, with 30 labels among 120 training rows. The search is over the strength of the labels.
import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, train_test_split

from skdgm import M2Classifier
from skdgm.datasets import mask_labels
from skdgm.display import AccuracyBarDisplay
from skdgm.model_selection import LabeledStratifiedKFold, make_labeled_scorer

warnings.simplefilter("ignore", ConvergenceWarning)  # short fits keep the example quick
X, y = load_wine(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, train_size=120, stratify=y, random_state=0)
y_few = mask_labels(y_train, 30, random_state=0)
model = M2Classifier(hidden_layer_sizes=(50,), max_iter=40, early_stopping=False, random_state=0)
grid = {"alpha": [0.0, "auto"]}

# %%
# The same search twice: as scikit-learn does it by default, and with folds and scores of labeled rows.
plain = GridSearchCV(model, grid, cv=3, scoring="accuracy", refit=False).fit(X_train, y_few)
labeled = GridSearchCV(
    model, grid, cv=LabeledStratifiedKFold(3), scoring=make_labeled_scorer("accuracy"), refit=False
).fit(X_train, y_few)

# %%
# Held-out rows with known labels tell the truth, which a user does not have: three fits with other seeds.
rows, scores = [], []
for candidate, alpha in enumerate(grid["alpha"]):
    for name, search in {"cv=3, scoring='accuracy'": plain, "labeled folds and scorer": labeled}.items():
        rows.append(f"alpha={alpha!r}: {name}")
        scores.append([search.cv_results_[f"split{fold}_test_score"][candidate] for fold in range(3)])
    rows.append(f"alpha={alpha!r}: held-out rows")
    model.set_params(alpha=alpha)
    scores.append([model.set_params(random_state=k).fit(X_train, y_few).score(X_test, y_test) for k in range(3)])
display = AccuracyBarDisplay.from_data(rows, np.array(scores))
display.ax_.set_title("What each search believes, and the truth")
plt.show()
