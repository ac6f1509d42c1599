"""What alpha="auto" chooses: the scale of the bound's gradient, and penalties of the classifier's weights."""

import numpy as np
import pytest

from skdgm.estimators._auto_alpha import auto_alpha, rates_of_classifier


def chosen(n_columns=10, n_labeled=20, n_classes=3, n_hidden_layers=1, *, is_image=False, max_gradient_scale=1.0):
    return auto_alpha(
        n_columns, n_labeled, n_classes, n_hidden_layers, is_image=is_image, max_gradient_scale=max_gradient_scale
    )


@pytest.mark.parametrize(("n_columns", "is_image", "scale"), [(2, False, 1.0), (10, False, 0.5), (784, True, 40 / 784)])
def test_the_gradient_scale_falls_with_the_number_of_columns(n_columns, is_image, scale):
    assert chosen(n_columns, is_image=is_image).gradient_scale == pytest.approx(scale)
    assert chosen(n_columns, is_image=is_image).alpha == pytest.approx(1 / scale)


def test_the_linear_part_has_the_penalty_of_logistic_regression():
    """LogisticRegression(C=1) minimizes 0.5 ||w||^2 + the summed log-loss; with two classes, two logits share it."""
    assert chosen().penalties["classifier.mlp.skip"] == 1 / 20
    assert chosen(n_classes=2).penalties["classifier.mlp.skip"] == 2 / 20


def test_an_auxiliary_variable_has_ten_times_the_penalty_of_the_columns():
    penalties = chosen(n_hidden_layers=2).penalties
    for path, of_columns in (
        ("classifier.mlp", "classifier.mlp.layers"),
        ("classifier.mlp.skip", "classifier.mlp.skip"),
    ):
        assert penalties[f"{path}.extra_weight"] == pytest.approx(10 * penalties[of_columns])


def test_without_hidden_layers_the_classifier_is_that_logistic_regression():
    of_columns = {"classifier": 1 / 20, "classifier.kernel_weight": 1 / 20}
    assert chosen(n_hidden_layers=0).penalties == of_columns | {"classifier.mlp.extra_weight": 10 / 20}
    x = np.ones((4, 3), np.float32)
    (rate,) = rates_of_classifier(x, 0).values()
    assert rate == rates_of_classifier(x, 1)["classifier.mlp.skip"]
