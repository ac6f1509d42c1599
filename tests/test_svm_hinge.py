"""Tests of the hinge loss and its rounded corner."""

import numpy as np
import pytest

from skdgm.svm.hinge import hinge, hinge_slope


def test_rounded_hinge_is_the_hinge_away_from_its_corner_and_has_its_slope():
    margin = np.linspace(-1, 3, 401)
    rounded = hinge(margin, 0.2)
    away = np.abs(margin - 1) > 0.2
    np.testing.assert_allclose(rounded[away], hinge(margin, 0.0)[away], atol=1e-12)
    assert np.abs(rounded - hinge(margin, 0.0)).max() == pytest.approx(0.05)
    np.testing.assert_allclose(-np.gradient(rounded, margin)[1:-1], hinge_slope(margin, 0.2)[1:-1], atol=0.02)
