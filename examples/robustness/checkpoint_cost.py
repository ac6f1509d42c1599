"""What a checkpoint costs: milliseconds to write and read a state, its size, and the share of a fit's time.

The model is an M2 on 784 binary columns with hidden layers of 500 units and 50 latent dimensions. The result is
appended to ``results/checkpoint_cost.jsonl``::

    OMP_NUM_THREADS=1 python examples/robustness/checkpoint_cost.py
"""

from __future__ import annotations

import json
import tempfile
import time
import warnings
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from skdgm import Checkpoint, M2Classifier, checkpoints

RESULTS = Path(__file__).parent / "results" / "checkpoint_cost.jsonl"
N_ROWS, N_COLUMNS, N_CLASSES, N_EPOCHS = 1_000, 784, 10, 12


class Stopwatch:
    """Write states as ``write_snapshot`` does, and note the time, also to read them, and their sizes in bytes."""

    def __init__(self) -> None:
        self.write, self.to_write, self.to_read, self.sizes = checkpoints.write_snapshot, [], [], []

    def __call__(self, path: Path, snapshot: Any, fit: str) -> None:
        begun = time.perf_counter()
        self.write(path, snapshot, fit)
        written = time.perf_counter()
        checkpoints.read_snapshot(path, fit)
        self.to_write.append(written - begun)
        self.to_read.append(time.perf_counter() - written)
        self.sizes.append(path.stat().st_size)


def main() -> None:
    """Fit with a state after every epoch; print and record medians over epochs."""
    rng = np.random.default_rng(0)
    X = (rng.random((N_ROWS, N_COLUMNS)) < 0.2).astype(np.float32)
    y = np.where(np.arange(N_ROWS) < 100, np.arange(N_ROWS) % N_CLASSES, -1)
    warnings.simplefilter("ignore")
    watch = Stopwatch()
    with tempfile.TemporaryDirectory() as folder, patch.object(checkpoints, "write_snapshot", watch):
        checkpoint = Checkpoint(folder, every_minutes=None, every_epochs=1)
        model = M2Classifier(50, hidden_layer_sizes=(500,), max_iter=N_EPOCHS, checkpoint=checkpoint, random_state=0)
        model.fit(X, y)
    to_write = median(watch.to_write[:-1])  # the last one is the end of the fit, and smaller
    found = {
        "n_weights": sum(p.numel() for p in model.module_.parameters()),
        "megabytes": round(median(watch.sizes[:-1]) / 1e6, 1),
        "megabytes_at_the_end": round(watch.sizes[-1] / 1e6, 1),
        "milliseconds_to_write": [round(1e3 * one) for one in watch.to_write],
        "median_milliseconds_to_write": round(1e3 * to_write),
        "median_milliseconds_to_read": round(1e3 * median(watch.to_read[:-1])),
        "percent_of_a_fit_at_the_default_interval": round(100 * to_write / (60 * Checkpoint.every_minutes), 3),
        "threads": torch.get_num_threads(),
        "versions": {library: version(library) for library in ("numpy", "safetensors", "torch")},
    }
    print(json.dumps(found, indent=1))
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("a") as file:
        file.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
