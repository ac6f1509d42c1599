"""Benchmark of M2 by number of classes: seconds and memory per row with n_enumerated=4, for 10 and 1,000 classes."""

from __future__ import annotations

import json
import resource
import subprocess
import sys

import numpy as np
from _table import Row, in_turn, record

from skdgm import M2Classifier

N_ROWS, BATCH = 10_000, 500


def model() -> M2Classifier:
    """784-500-50, as in the paper."""
    return M2Classifier(
        50,
        hidden_layer_sizes=(500,),
        batch_size=BATCH,
        n_enumerated=4,
        max_iter=2,
        likelihood="bernoulli",
        alpha=0.1,
        class_prior="uniform",
        early_stopping=False,
        random_state=0,
    )


def data(n_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Binary rows; a tenth of them is labeled, with each class at least once."""
    X = np.random.default_rng(0).integers(0, 2, (N_ROWS, 784), dtype=np.uint8).astype(np.float32)
    y = np.full(N_ROWS, -1)
    y[:1000] = np.arange(1000) % n_classes
    return X, y


def peak_mib(n_classes: int) -> float:
    """Peak memory of a fit in its own process, without its data."""
    code = f"import classes; classes.report({n_classes})"
    printed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    return float(json.loads(printed.splitlines()[-1]))


def report(n_classes: int) -> None:
    """Print the growth of this process's peak memory in a fit, after a tiny fit has loaded everything."""
    X, y = data(n_classes)
    model().set_params(batch_size=8, hidden_layer_sizes=(4,)).fit(X[:8, :8], [0, 1, 2, 3, 0, 1, 2, 3])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    model().fit(X, y)
    print(json.dumps((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024))


def main() -> None:
    """Measure time and memory for both."""
    mib = {n_classes: peak_mib(n_classes) for n_classes in (10, 1000)}  # first: children start at this peak
    few, many = data(10), data(1000)
    median = in_turn({"few": lambda: model().fit(*few), "many": lambda: model().fit(*many)}, 5)
    rate = {name: 1e6 * time / (2 * N_ROWS) for name, time in median.items()}
    row = Row(
        "M2, time per row: 1,000 classes, `n_enumerated=4`",
        "10 classes",
        f"{rate['many']:.0f} µs",
        f"{rate['few']:.0f} µs",
        median["many"] / median["few"],
        "≤ 3×",
        f"peak memory beyond the data: {mib[1000]:.0f} against {mib[10]:.0f} MiB",
    )
    record(__file__, [row])


if __name__ == "__main__":
    main()
