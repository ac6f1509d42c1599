"""Two processes against one: GridSearchCV with 12 fits of at least five seconds each, one thread per fit."""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is loaded, in this process and in the workers

from _table import Row, in_turn, record  # noqa: E402
from sklearn.datasets import load_digits  # noqa: E402
from sklearn.model_selection import GridSearchCV  # noqa: E402

from skdgm import M2Classifier  # noqa: E402
from skdgm.datasets import mask_labels  # noqa: E402
from skdgm.model_selection import LabeledStratifiedKFold, make_labeled_scorer  # noqa: E402


def main() -> None:
    """Time the search with one job and with two."""
    X, y = load_digits(return_X_y=True)
    X, y = X / 16, mask_labels(y, 200, random_state=0)
    model = M2Classifier(hidden_layer_sizes=(500,), alpha=0.1, max_iter=25, early_stopping=False, random_state=0)

    def search(n_jobs: int) -> GridSearchCV:
        grid = {"alpha": [0.03, 0.1, 0.3], "n_components": [5, 10]}
        cv, scoring = LabeledStratifiedKFold(2), make_labeled_scorer("accuracy")
        return GridSearchCV(model, grid, cv=cv, scoring=scoring, n_jobs=n_jobs, refit=False).fit(X, y)

    search(2)  # starts the workers
    median = in_turn({"one": lambda: search(1), "two": lambda: search(2)}, 1)
    row = Row(
        f"`GridSearchCV`, 12 fits of {median['one'] / 12:.1f} s, `n_jobs=2`",
        "`n_jobs=1`",
        f"{median['two']:.0f} s",
        f"{median['one']:.0f} s",
        median["one"] / median["two"],
        "≥ 1.6×",
    )
    record(__file__, [row])


if __name__ == "__main__":
    main()
