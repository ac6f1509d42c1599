"""Tests of class shares: estimated, limited, turned into counts."""

import numpy as np
import pytest

from skdgm.svm.shares import MAX_DRIFT, apportion, estimate_shares, limit_drift


@pytest.mark.parametrize("n", [0, 1, 7, 1000])
@pytest.mark.parametrize("shares", [[0.5, 0.5], [0.1] * 10, [0.0, 0.301, 0.699]])
def test_apportioned_counts_sum_up_and_are_within_one_of_their_shares(n, shares):
    counts = apportion(np.array(shares), n)
    assert counts.sum() == n
    assert (np.abs(counts - n * np.array(shares)) < 1).all()


def test_estimated_shares_are_those_of_all_rows_under_a_pull_less_the_labeled_rows():
    labeled, predicted = np.repeat([0, 1, 2], [2, 3, 5]), np.repeat([0, 2], [60, 30])
    # All 100 rows and 3 pseudo-rows (one per class) with the shares of the labels.
    of_all = (np.array([62, 3, 35]) + 3 * np.array([0.2, 0.3, 0.5])) / 103
    of_unlabeled = (100 * of_all - [2, 3, 5]) / 90
    shares = estimate_shares(labeled, predicted, 3)
    np.testing.assert_allclose(shares, of_unlabeled)
    assert shares.sum() == pytest.approx(1)
    assert shares[1] == pytest.approx(3 * 0.3 / 103)  # never predicted


@pytest.mark.parametrize("n_classes", [2, 7])
def test_estimated_shares_are_positive_whatever_is_predicted(n_classes):
    rng = np.random.default_rng(0)
    for _ in range(50):
        labeled = np.r_[np.arange(n_classes), rng.integers(n_classes, size=rng.integers(200))]
        predicted = np.full(rng.integers(1, 10**5), rng.integers(n_classes))
        shares = estimate_shares(labeled, predicted, n_classes)
        assert (shares > 0).all()
        assert shares.sum() == pytest.approx(1)


def test_shares_drift_straight_to_what_is_wanted_or_to_the_first_limit():
    first = np.array([0.5, 0.4, 0.1])
    limit = MAX_DRIFT * np.sqrt(first * (1 - first) / 25)
    near, far = first + [0.01, 0, -0.01], np.array([0.8, 0.0, 0.2])
    np.testing.assert_allclose(limit_drift(first, near, 25), near)
    np.testing.assert_array_equal(limit_drift(first, first, 25), first)
    moved = limit_drift(first, far, 25) - first
    np.testing.assert_allclose(moved / (far - first), limit[1] / 0.4)
    assert (np.abs(moved) <= limit * (1 + 1e-12)).all()
    assert moved.sum() == pytest.approx(0)
