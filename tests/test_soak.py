"""examples/robustness/soak.py on a small budget: memory stays flat, and threads get the same bits."""

import itertools
import mmap
import sys
import warnings
from pathlib import Path

import pytest

pytest.importorskip("psutil")
sys.path.insert(0, str(Path(__file__).parent.parent / "examples" / "robustness"))
import soak


@pytest.fixture(autouse=True)
def _warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def test_memory_stays_flat_over_fits():
    assert soak.growth(soak.fits(), 4 * len(soak.MAKERS), 2 * len(soak.MAKERS), 4)["growth_mb"] < soak.LIMIT_MB


def test_memory_stays_flat_over_predictions():
    assert soak.growth(soak.calls(), 1000, 200, 4)["growth_mb"] < soak.LIMIT_MB


def a_megabyte():
    """New pages: an array could take memory that was freed, but is still resident."""
    pages = mmap.mmap(-1, 2**20)
    pages.write(bytes([1]) * 2**20)
    return pages


def test_a_leak_is_found():
    held = []
    work = (held.append(a_megabyte()) for _ in itertools.count())
    assert soak.growth(work, 100, 10, 4)["growth_mb"] > 4 * soak.LIMIT_MB


@pytest.mark.parametrize("check", [soak.check_predictions_in_threads, soak.check_fits_in_threads])
def test_threads_get_the_same_bits(check):
    result = check(1)
    assert set(result["same_bits"]) == set(soak.MAKERS) and all(result["same_bits"].values())
