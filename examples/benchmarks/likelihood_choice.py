"""Does a classifier gain by the likelihoods that "auto" chooses? M2Classifier with a normal density for some of them.

- Tables, splits, labels, and preprocessing are those of few_labels.py; labels are drawn evenly. These are tables on
  which "auto" chooses other likelihoods than Gaussian and Bernoulli; on others, all variants are the same fit. Two of
  them, glass and pima_diabetes, are none that defaults may be chosen by.
- "auto" is the default. In the other variants, columns that it makes lognormal are Gaussian; or those, and counts and
  columns with a spike at zero; or all but 0/1 columns.

In the recorded runs (3 splits, 10 and 30 labels), no variant differs from "auto" by more than two standard errors:
Gaussian for lognormal gains 0.4 points (0.3) and 0.016 nats (0.016). It is better on sonar and pima_diabetes, and worse
on wine.

    SKDGM_DATA=... python examples/benchmarks/likelihood_choice.py           # resumes; ten minutes on one core
    python examples/benchmarks/likelihood_choice.py --report                 # the table of the finished runs
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

import few_labels  # first: it sets the number of threads
import numpy as np
import pandas as pd
from few_labels import Task, fit_and_judge, run_tasks

sys.path.append(str(Path(few_labels.__file__).resolve().parents[1] / "replication"))
from _runs import finished

from skdgm import M2Classifier
from skdgm.estimators._likelihood_choice import choose

EXPERIMENT = "likelihood_choice"
TABLES = ("wine", "ecoli", "sonar", "german_credit", "glass", "pima_diabetes")
N_LABELED, N_SPLITS = (10, 30), 3
ALL_NUMBERS = ("lognormal", "zero_inflated_lognormal", "negative_binomial")
# What is Gaussian instead.
VARIANTS: dict[str, tuple[str, ...]] = {
    "auto": (),
    "lognormal -> gaussian": ("lognormal",),
    "positive, counts -> gaussian": ALL_NUMBERS,
    "all but 0/1 -> gaussian": (*ALL_NUMBERS, "categorical"),
}


def make(seed: int, *, kinds: list[str]) -> M2Classifier:
    """M2 with these likelihoods of the columns, and defaults otherwise."""
    columns = {kind: [j for j, other in enumerate(kinds) if other == kind] for kind in dict.fromkeys(kinds)}
    return M2Classifier(likelihood=list(columns.items()), random_state=seed)


def task(table: str, n_labeled: int, seed: int, variant: str) -> Task:
    """One run."""
    of = few_labels.split(table, seed)
    X, X_test = of.raw
    kinds = choose(X, ["auto"] * X.shape[1], ["number"] * X.shape[1]).kinds
    kinds = ["gaussian" if kind in VARIANTS[variant] else kind for kind in kinds]
    setting = {"table": table, "n_labeled": n_labeled, "variant": variant}
    key = {"experiment": EXPERIMENT, "method": "M2Classifier", "setting": setting, "seed": seed}
    y = few_labels.few(of.y[0], n_labeled, "even", seed)
    arguments = (partial(make, kinds=kinds), seed, X, y, X_test, of.y[1], True)
    return Task(key, ("accuracy",), {"n_gaussian": kinds.count("gaussian")}, fit_and_judge, lambda: arguments)


def report(folder: Path) -> None:
    """Print each variant minus "auto", over the splits that both have."""
    rows = [
        run["setting"] | {"seed": run["seed"], "accuracy": 100 * run["value"], "log_loss": run["facts"]["log_loss"]}
        for run in finished(EXPERIMENT, folder)
    ]
    wide = pd.DataFrame(rows).pivot_table(index=["table", "n_labeled", "seed"], columns="variant")
    for metric in ("accuracy", "log_loss"):
        gaps = wide[metric].sub(wide[metric]["auto"], axis=0).dropna()
        means = pd.concat([gaps.groupby("table").mean(), gaps.mean().to_frame("all runs").T])
        print(f"{metric}, minus that of auto, {len(gaps)} runs per variant")
        print(means.assign(auto=wide[metric]["auto"].groupby("table").mean()).round(3).to_string())
        print("standard error", (gaps.std() / np.sqrt(len(gaps))).round(3).to_dict(), "\n")


def main() -> None:
    """Do the runs that are not in the results, then report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", nargs="+", default=TABLES, choices=few_labels.TABLES, metavar="TABLE")
    parser.add_argument("--labels", nargs="+", type=int, default=N_LABELED)
    parser.add_argument("--seeds", nargs="+", type=int, default=range(N_SPLITS))
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--n-jobs", type=int, default=1, help="runs at a time, each in its process on one thread")
    parser.add_argument("--report", action="store_true", help="only print the table of the finished runs")
    parser.add_argument("--results", type=Path, default=few_labels.RESULTS, help="folder of the results file")
    args = parser.parse_args()
    if not args.report:
        runs = ((seed, t, n, v) for seed in args.seeds for t in args.tables for n in args.labels for v in args.variants)
        tasks = (task(t, n, seed, v) for seed, t, n, v in runs if not few_labels.why_left_out(t, n))
        run_tasks(tasks, args.results, args.n_jobs)
    report(args.results)


if __name__ == "__main__":
    main()
