"""Does calibration help at three labels per class? Log-loss and calibration error of M2Classifier's probabilities.

- Data: at most 500 rows of a table of scikit-learn, drawn anew for each seed. Three rows of each class keep their
  label; the others train as unlabeled rows, and their hidden labels are the test.
- "none" is M2Classifier with its defaults, "calibration_cv=3" adds that parameter. The others are
  CalibratedClassifierCV(M2Classifier(), cv=LabeledStratifiedKFold(3), ensemble=False) with one of its methods, within
  SemiSupervisedMetaClassifier.
- The calibration error is that of the predicted class, in 15 bins of equal width.

    python examples/benchmarks/few_label_probabilities.py            # resumes; 20 minutes
    python examples/benchmarks/few_label_probabilities.py --report   # the table of the finished runs
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before numpy, torch and scikit-learn are loaded

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.metrics import log_loss

HERE = Path(__file__).resolve().parent
sys.path += [str(HERE), str(HERE.parent / "replication")]
from _runs import finished, run_once
from few_labels import calibration_error

from skdgm import M2Classifier, SemiSupervisedMetaClassifier
from skdgm.datasets import mask_labels
from skdgm.model_selection import LabeledStratifiedKFold

EXPERIMENT, RESULTS = "few_label_probabilities", HERE / "results"
TABLES = {"wine": load_wine, "digits": load_digits, "breast cancer": load_breast_cancer}
CALIBRATIONS = ("none", "calibration_cv=3", "temperature", "sigmoid")
N_ROWS, N_PER_CLASS, SEEDS = 500, 3, range(5)


def model(calibration: str, seed: int) -> Any:
    """The classifier with one of the calibrations."""
    if calibration in ("none", "calibration_cv=3"):
        return M2Classifier(calibration_cv=None if calibration == "none" else 3, random_state=seed)
    folds, m2 = LabeledStratifiedKFold(N_PER_CLASS), M2Classifier(random_state=seed)
    return SemiSupervisedMetaClassifier(CalibratedClassifierCV(m2, cv=folds, method=calibration, ensemble=False))


def measured(table: str, calibration: str, seed: int) -> tuple[float, dict[str, Any]]:
    """Log-loss of the rows whose labels were hidden, and more about them."""
    X, y = TABLES[table](return_X_y=True)
    rows = np.random.RandomState(seed).permutation(len(y))[:N_ROWS]
    X, y = X[rows], y[rows]
    y_few = mask_labels(y, N_PER_CLASS * len(np.unique(y)), random_state=seed)
    test, fitted = y_few == -1, model(calibration, seed).fit(X, y_few)
    P = fitted.predict_proba(X[test])
    facts = {
        "calibration_error": calibration_error(P, y[test]),
        "accuracy": float((P.argmax(1) == y[test]).mean()),
        "temperature": getattr(fitted, "temperature_", None),
    }
    return log_loss(y[test], P), facts


def report() -> None:
    """Print the mean of each measure over the seeds, and in how many of them the log-loss fell."""
    done = finished(EXPERIMENT, RESULTS)
    runs = {(run["setting"]["table"], run["setting"]["calibration"], run["seed"]): run for run in done}
    for table in TABLES:
        for calibration in CALIBRATIONS:
            found = [runs[key] for seed in SEEDS if (key := (table, calibration, seed)) in runs]
            losses = [run["value"] for run in found]
            lower = sum(run["value"] < runs[table, "none", run["seed"]]["value"] for run in found)
            means = [np.mean([run["facts"][name] for run in found]) for name in ("calibration_error", "accuracy")]
            print(f"{table:14}{calibration:18}{np.mean(losses):6.2f} ± {np.std(losses, ddof=1):4.2f}", end=" ")
            print(f"({min(losses):.2f} to {max(losses):.2f}, lower in {lower})", *(f"{mean:6.2f}" for mean in means))


def main() -> None:
    """Run what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--report", action="store_true")
    if not parser.parse_args().report:
        for table in TABLES:
            for seed in SEEDS:
                for calibration in CALIBRATIONS:
                    setting = {"table": table, "n_per_class": N_PER_CLASS, "calibration": calibration}
                    key = {"experiment": EXPERIMENT, "method": "M2Classifier", "setting": setting}
                    key |= {"seed": seed, "metric": "log_loss"}
                    run_once(key, {}, partial(measured, table, calibration, seed), RESULTS)
    report()


if __name__ == "__main__":
    main()
