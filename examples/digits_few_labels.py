"""How well can I classify from five labels per class? `make demo` runs this.

Semi-supervised classification of scikit-learn's digits: 50 labeled rows, about 1,200 unlabeled rows, and 30% held out.
All methods use the same five seeded splits. It prints a table and writes a figure, `digits_few_labels.png`, next to
this file: accuracies, samples of each class, and analogies (the style of one digit in every class).

Samples and analogies come from an M2 with likelihood="gaussian". By default, gray pixels are Bernoulli columns. That is
better for the labels, but hides styles: a gray value is then the probability of white, and tells less than a number.

Not part of the gallery, whose examples take less than a minute.
"""

# The methods: three from scikit-learn with settings that suit this data, and three from skdgm with their defaults.
import os
import time
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from joblib import Parallel, delayed
from rich.progress import track
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.semi_supervised import LabelSpreading, SelfTrainingClassifier
from sklearn.svm import SVC

from skdgm import M1Classifier, M1M2Classifier, M2Classifier
from skdgm.datasets import mask_labels
from skdgm.display import AccuracyBarDisplay, AnalogyDisplay, ConditionalSamplesDisplay

N_LABELED = 50
SEEDS = range(5)
PICTURE = Path(__file__).with_suffix(".png")

METHODS = {
    "SVC (labeled rows only)": lambda seed: SVC(C=10),
    "SelfTrainingClassifier(SVC)": lambda seed: SelfTrainingClassifier(
        CalibratedClassifierCV(SVC(C=10), ensemble=False)
    ),
    "LabelSpreading(kernel='knn')": lambda seed: LabelSpreading(kernel="knn"),
    "M1Classifier": lambda seed: M1Classifier(SVC(C=10), random_state=seed),
    "M2Classifier": lambda seed: M2Classifier(random_state=seed),
    "M1M2Classifier": lambda seed: M1M2Classifier(random_state=seed),
}


# A run uses a stratified split with 5 labels per class; -1 marks all other training rows.
def run(name, seed):
    """Fit one method on one split; return its held-out accuracy and its seconds."""
    X, y = load_digits(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X / 16, y, test_size=0.3, stratify=y, random_state=seed)
    y_few = mask_labels(y_train, N_LABELED, random_state=seed)
    rows = y_few >= 0 if name.startswith("SVC") else slice(None)
    start = time.perf_counter()
    with warnings.catch_warnings():
        # if no label reaches a row in LabelSpreading's graph, it divides by 0; the row counts as an error
        warnings.filterwarnings("ignore", "invalid value", RuntimeWarning)
        model = METHODS[name](seed).fit(X_train[rows], y_few[rows])
        accuracy = model.score(X_test, y_test)
    return name, seed, accuracy, time.perf_counter() - start


# Run everything, two runs at a time, and print the table.
def main():
    """Run everything, print the table, and save the figure."""
    start = time.perf_counter()
    jobs = [delayed(run)(name, seed) for name in METHODS for seed in SEEDS]
    results = Parallel(n_jobs=2, return_as="generator_unordered", inner_max_num_threads=1)(jobs)
    done = {(name, seed): rest for name, seed, *rest in track(results, "fitting", total=len(jobs))}
    accuracies = np.array([[done[name, seed][0] for seed in SEEDS] for name in METHODS])
    print(f"\nHeld-out accuracy on digits, {N_LABELED} labels, {len(SEEDS)} splits, one thread per fit")
    print(f"{'method':30s} {'accuracy, %':>14s} {'seconds per fit':>16s}")
    for name, scores in zip(METHODS, 100 * accuracies, strict=True):
        seconds = np.mean([done[name, seed][1] for seed in SEEDS])
        print(f"{name:30s} {f'{scores.mean():.1f} ± {scores.std(ddof=1):.1f}':>14s} {seconds:16.1f}")
    draw(accuracies)
    print(f"\n{time.perf_counter() - start:.0f} s in total; figure: {os.path.relpath(PICTURE)}")


def draw(accuracies):
    """Save the figure: bars at the top; below, what an M2 of all rows has learned from the same number of labels."""
    X, y = load_digits(return_X_y=True)
    m2 = M2Classifier(likelihood="gaussian", max_iter=150, random_state=0)
    with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):  # a short fit is enough for a figure
        m2.fit(X / 16, mask_labels(y, N_LABELED, random_state=0))
    figure, axes = plt.subplot_mosaic(
        [["bars", "bars"], ["samples", "analogies"]], figsize=(11, 7.1), height_ratios=[2, 5], layout="constrained"
    )
    AccuracyBarDisplay.from_data(list(METHODS), accuracies, ax=axes["bars"])
    samples = {"n_per_class": 10, "limits": (0, 1), "random_state": 0}
    ConditionalSamplesDisplay.from_estimator(m2, image_shape=(8, 8), **samples, ax=axes["samples"])
    AnalogyDisplay.from_estimator(m2, X[:10] / 16, image_shape=(8, 8), ax=axes["analogies"])
    axes["samples"].set_title("M2, Gaussian pixels: samples of each class")
    axes["analogies"].set_title("M2, Gaussian pixels: one style in every class")
    figure.savefig(PICTURE, dpi=110)


if __name__ == "__main__":
    main()
