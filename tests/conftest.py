"""Fixtures and settings of all tests: one thread, no window, seeded data."""

import os
import sys
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

matplotlib.use("Agg")
torch.set_num_threads(1)

N_PER_CLASS = 5


@cache
def _digits():
    X, y = load_digits(return_X_y=True)
    return (X / 16).astype(np.float32), y


@pytest.fixture
def digits():
    """X of shape (1797, 64), float32 in [0, 1], and y; a copy for each test."""
    X, y = _digits()
    return X.copy(), y.copy()


@pytest.fixture
def few_labels():
    """The digits with 5 labels per class: X, y with -1 for the other rows, and the true labels."""
    X, y_true = _digits()
    rng = np.random.default_rng(0)
    labeled = [rng.choice(np.flatnonzero(y_true == c), N_PER_CLASS, replace=False) for c in range(10)]
    y = np.full_like(y_true, -1)
    y[np.concatenate(labeled)] = np.repeat(np.arange(10), N_PER_CLASS)
    return X.copy(), y, y_true.copy()


@pytest.fixture
def data_folder(request):
    """The folder SKDGM_DATA; skip the test if it, or a file named by @pytest.mark.needs_files, is missing."""
    folder = os.environ.get("SKDGM_DATA")
    if not folder:
        pytest.skip("SKDGM_DATA is not set: no folder of real data")
    marker = request.node.get_closest_marker("needs_files")
    missing = [name for name in (marker.args if marker else ("",)) if not (Path(folder) / name).exists()]
    if missing:
        pytest.skip(f"SKDGM_DATA={folder} lacks {', '.join(missing) or 'the folder itself'}")
    return Path(folder)


@pytest.fixture(autouse=True)
def _closed_figures():
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")
