"""Likelihood and scale per column: what "auto" chooses, rows out of range, bad cells, units, densities."""

import warnings
from functools import cache

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_breast_cancer
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder

from skdgm import DLGM, VAE, M1M2Classifier, M2Classifier
from skdgm.datasets import load_mnist

FAST = {"hidden_layer_sizes": (16,), "max_iter": 5, "random_state": 0}
CLASSIFIERS = (M2Classifier, M1M2Classifier)
DENSITIES = [VAE, DLGM, M2Classifier, M1M2Classifier]
EVERY_DENSITY = pytest.mark.parametrize("estimator", DENSITIES, ids=lambda estimator: estimator.__name__)


def fitted(estimator, X, n_labeled=20, **params):
    """Fit `estimator` quickly; classifiers get labels that depend on the first column."""
    if estimator is M1M2Classifier:
        params = {"encoder": VAE(2, **{**FAST, "max_iter": params.get("max_iter", 5)}), **params}
    model = estimator(2, **{**FAST, **params})
    if estimator not in CLASSIFIERS:
        return model.fit(X)
    first = np.asarray(X, dtype=float)[:, 0]
    y = (first > np.nanmedian(first)).astype(int)
    y[:2] = [0, 1]
    y[n_labeled:] = -1
    return model.fit(X, y)


def kinds(model):
    """The likelihood of each column, in order."""
    return [column.likelihood for column in model.likelihoods_]


def skewed_bits(n=300, n_columns=6, seed=0):
    """0/1 columns, alternately mostly 1 and mostly 0."""
    shares = np.where(np.arange(n_columns) % 2 == 0, 0.9, 0.1)
    return (np.random.default_rng(seed).random((n, n_columns)) < shares).astype(float)


def mixed(n=300, seed=0):
    """Three dependent numeric columns and three 0/1 columns that depend on them."""
    rng = np.random.default_rng(seed)
    numbers = rng.standard_normal((n, 1)) + 0.5 * rng.standard_normal((n, 3))
    bits = numbers + 0.5 * rng.standard_normal((n, 3)) > [-1, 0, 1]
    return np.hstack([10 + 3 * numbers, bits])


@cache
def fitted_once(estimator, table, **params):
    """A fitted model that several tests use, and its rows."""
    X = table()
    return fitted(estimator, X, **params), X


# --- what "auto" chooses ----------------------------------------------------------------------------------------------


def test_digits_are_an_image(digits):
    """17 gray levels: Bernoulli for every column, with a kind and a reason for each."""
    model = fitted(VAE, digits[0][:300])
    assert kinds(model) == ["bernoulli"] * 64 and model.likelihood_ == "bernoulli"
    assert all(isinstance(column.reason, str) and column.reason for column in model.likelihoods_)


@pytest.mark.needs_files("mnist.npz")
def test_mnist_is_an_image(data_folder):
    """256 gray levels are the most that an image may have."""
    X = load_mnist(return_X_y=True, subset="test")[0][:300]
    model = fitted(VAE, X, max_iter=1)
    assert set(kinds(model)) == {"bernoulli"}


@pytest.mark.parametrize("seed", range(3))
def test_min_max_scaled_columns_with_many_zeros_have_a_spike(seed):
    """45 % zeros in [0, 1], but thousands of distinct values: numbers, not an image."""
    rng = np.random.default_rng(seed)
    X = rng.gamma(2.0, size=(400, 5)) * (rng.random((400, 5)) > 0.45)
    assert kinds(fitted(VAE, MinMaxScaler().fit_transform(X))) == ["zero_inflated_lognormal"] * 5


@pytest.mark.parametrize(("n_values", "expected"), [(256, "bernoulli"), (257, "gaussian")])
def test_an_image_has_at_most_256_distinct_values(n_values, expected):
    """The values are counted in the whole table."""
    levels = np.linspace(0, 1, n_values)
    X = np.zeros((2, n_values))
    X[0] = levels
    X = np.vstack([X, np.roll(X, 1, axis=1), np.roll(X, 2, axis=1)])[:, :40]
    X = np.vstack([X, np.resize(levels, (-(-n_values // 40), 40)), np.ones((20, 40))])
    assert len(np.unique(X)) == n_values and np.mean((X == 0) | (X == 1)) > 1 / 3
    found = set(kinds(fitted(VAE, X, max_iter=1)))
    assert found == {"bernoulli"} if expected == "bernoulli" else "gaussian" in found


@pytest.mark.parametrize(("share", "expected"), [(0.35, "bernoulli"), (0.31, "zero_inflated_lognormal")])
def test_the_third_is_counted_among_the_columns_that_are_not_0_and_1_only(share, expected):
    """0/1 columns next to gray ones do not turn the gray ones into an image."""
    rng = np.random.default_rng(0)
    gray = rng.integers(1, 16, (200, 4)) / 16
    gray.ravel()[rng.choice(gray.size, int(share * gray.size), replace=False)] = 0.0
    X = np.hstack([gray, skewed_bits(200, 8)])
    assert kinds(fitted(VAE, X)) == [expected] * 4 + ["bernoulli"] * 8


@EVERY_DENSITY
def test_a_min_max_scaler_beside_a_one_hot_encoder(estimator):
    """Numeric columns are Gaussian, dummies are Bernoulli; a data frame passes through an ordinary pipeline."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"income": rng.lognormal(size=200), "city": rng.choice(["x", "y", "z"], 200), "age": rng.normal(size=200)}
    )
    encode = make_column_transformer(
        (MinMaxScaler(), ["income", "age"]), (OneHotEncoder(sparse_output=False), ["city"])
    )
    X = encode.fit_transform(frame)
    assert kinds(fitted(estimator, X)) == ["gaussian"] * 2 + ["bernoulli"] * 3


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (np.array([0, 1]), "bernoulli"),
        (np.array([False, True]), "bernoulli"),
        (np.array([0.0, 1.0, np.nan]), "bernoulli"),
        (np.array([0.0, 1.0, 1 + 2.3e-16]), "bernoulli"),
        (np.array([0, 1, 2]), "categorical"),
        (np.array([0, 2]), "categorical"),
        (np.array([0, -1]), "categorical"),
        (np.array([0, 0.5, 1]), "categorical"),
        (np.array([1, 2]), "categorical"),
        (np.arange(11), "negative_binomial"),
        (np.arange(1, 12), "gaussian"),
    ],
    ids=["int", "bool", "missing cells", "rounding", "0 1 2", "0 2", "0 -1", "half", "1 2", "counts", "no count"],
)
def test_a_column_of_only_0_and_1_is_bernoulli(column, expected):
    """Each column separately, next to a numeric one."""
    cells = np.resize(column, 90)
    X = pd.DataFrame({"number": np.random.default_rng(0).normal(size=90), "column": cells})
    assert kinds(fitted(VAE, X)) == ["gaussian", expected]


@pytest.mark.parametrize("unit", [1e-12, 1e-9, 1e-7, 1e-6, 1e-5])
def test_small_numbers_are_no_rounding_of_0(unit):
    """Farads, wavelengths in meters: cells that differ from one another are numbers, however small the unit."""
    X = unit * np.random.default_rng(0).lognormal(size=(200, 2))
    assert kinds(fitted(VAE, X, max_iter=1)) == ["lognormal"] * 2


def test_columns_of_booleans_alone():
    """A boolean array counts as 0 and 1."""
    assert kinds(fitted(VAE, skewed_bits(100).astype(bool))) == ["bernoulli"] * 6


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian", "gaussian_heteroscedastic"])
def test_a_named_likelihood_is_that_of_every_column(likelihood):
    """A likelihood given by name applies to all columns."""
    model = fitted(VAE, skewed_bits(), likelihood=likelihood)
    assert kinds(model) == [likelihood] * 6 and model.likelihood_ == likelihood


@EVERY_DENSITY
def test_draws_and_means_of_a_mixed_table_are_of_their_kinds(estimator):
    """0/1 cells are drawn as 0 or 1 and decoded as probabilities; numbers keep their units."""
    model, X = fitted_once(estimator, mixed, max_iter=20)
    rows = model.sample(200, random_state=0)
    rows = rows[0] if estimator in CLASSIFIERS else rows
    assert set(np.unique(rows[:, 3:])) == {0.0, 1.0} and len(np.unique(rows[:, 0])) == 200
    assert np.abs(rows[:, :3].mean(0) - 10).max() < 3
    means = model.inverse_transform(model.transform(X))
    assert np.all((means[:, 3:] > 0) & (means[:, 3:] < 1)) and np.abs(means[:, :3].mean(0) - 10).max() < 2


@pytest.mark.parametrize("estimator", [VAE, DLGM, M2Classifier], ids=lambda estimator: estimator.__name__)
@pytest.mark.parametrize("unit", [1.0, 1e-7, 1e7])
def test_the_density_of_a_mixed_table_integrates_to_one(estimator, unit):
    """Summed over the 0/1 column and integrated over the numeric column, in any unit."""
    rng = np.random.default_rng(0)
    bit = rng.random(300) < 0.3
    X = np.column_stack([unit * (rng.standard_normal(300) + 3 * bit), bit])
    model = fitted(estimator, X, max_iter=20, n_importance_samples=50)
    grid = np.linspace(-10, 15, 1001)
    total = sum(np.exp(model.score_samples(np.column_stack([unit * grid, np.full(1001, b)]))).sum() for b in (0, 1))
    assert total * unit * (grid[1] - grid[0]) == pytest.approx(1, abs=0.02)


# --- rows out of range ------------------------------------------------------------------------------------------------


def with_one_cell(X, value):
    """Each row once per column, with that column's cell set to `value`."""
    cells = np.repeat(X[None], X.shape[1], axis=0)
    for j in range(X.shape[1]):
        cells[j, :, j] = value
    return cells.reshape(-1, X.shape[1])


@EVERY_DENSITY
@pytest.mark.parametrize("value", [3, -2, 0.5])
def test_a_row_out_of_range_is_finite_and_scores_below_the_clipped_one(estimator, value):
    """With the kind that "auto" chose, for columns of mostly 1 and of mostly 0; 0.5 is equally far from both."""
    model, X = fitted_once(estimator, skewed_bits, max_iter=30)
    bad, low, high = (with_one_cell(X[:20], cell) for cell in (value, 0, 1))
    found, lower, upper = np.split(model.score_samples(np.vstack([bad, low, high])), 3)
    clipped = {3: upper, -2: lower, 0.5: np.maximum(lower, upper)}[value]
    assert np.all(np.isfinite(found)) and np.all(found < clipped)


def test_each_cell_out_of_range_costs():
    """Two bad cells score lower than one, and one lower than none."""
    X = skewed_bits()
    model = fitted(VAE, X, max_iter=30)
    means = []
    for n_bad in range(4):
        bad = X.copy()
        bad[:, :n_bad] = 3
        clipped = np.clip(bad, 0, 1)
        means.append(np.mean(model.score_samples(bad) - model.score_samples(clipped)))
    assert means[0] == 0 and np.all(np.diff(means) < 0)


def test_gray_cells_are_in_range_of_an_image_and_others_are_not(digits):
    """In an image 0.5 is a probability; 3 and -2 are out of range even there."""
    X = digits[0][:300]
    model = fitted(VAE, X, max_iter=20)
    bad = X.copy()
    bad[:, 20] = np.where(np.arange(len(X)) % 2, 3, -2)
    assert np.all(model.score_samples(bad) < model.score_samples(np.clip(bad, 0, 1)))


@EVERY_DENSITY
@pytest.mark.parametrize("column", [0, 3], ids=["gaussian", "bernoulli"])
@pytest.mark.parametrize("value", [-1e6, 1e30, -1e300])
def test_scores_are_finite_whatever_the_cell(estimator, column, value):
    """Neither infinite nor NaN; such a row scores below all training rows."""
    model, X = fitted_once(estimator, mixed)
    bad = X[:20].copy()
    bad[:, column] = value
    found = model.score_samples(bad)
    assert np.all(np.isfinite(found)) and found.max() < model.score_samples(X[:20]).min()
    assert np.all(np.isfinite(model.transform(bad)))


@EVERY_DENSITY
@pytest.mark.parametrize("value", [3, -2])
def test_a_named_bernoulli_raises_out_of_range(estimator, value):
    """In fit, and in score_samples after a fit to rows in range."""
    if estimator is M1M2Classifier:
        params = {"encoder": VAE(2, **FAST, likelihood="bernoulli")}
    else:
        params = {"likelihood": "bernoulli"}
    X = skewed_bits()
    bad = X.copy()
    bad[5, 2] = value
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        fitted(estimator, bad, **params)
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        fitted(estimator, X, **params).score_samples(bad)


@pytest.mark.parametrize("likelihood", ["auto", "bernoulli"])
def test_rounding_counts_as_in_range(likelihood):
    """1 + 2e-16 and -1e-17, as MinMaxScaler returns them, count as 1 and 0, in fit and in score_samples."""
    X = skewed_bits()
    rounded = X.copy()
    rounded[rounded[:, 0] == 1, 0] = np.nextafter(1, 2)
    rounded[rounded[:, 1] == 0, 1] = -1e-17
    model = fitted(VAE, rounded, likelihood=likelihood, max_iter=20, n_importance_samples=300)
    assert kinds(model) == ["bernoulli"] * 6
    np.testing.assert_allclose(model.score_samples(rounded), model.score_samples(X), atol=0.2)
    exact = fitted(VAE, X, likelihood=likelihood, max_iter=20, n_importance_samples=300)
    np.testing.assert_allclose(exact.score_samples(rounded), model.score_samples(X), atol=0.2)


def test_rounding_leaves_an_image_an_image(digits):
    """A gray image with 1 + 2e-16 as its largest level."""
    X = digits[0][:200].astype(float)
    X[X == 1] = np.nextafter(1, 2)
    model = fitted(VAE, X)
    assert kinds(model) == ["bernoulli"] * 64 and np.all(np.isfinite(model.score_samples(X)))


# --- robust scales ----------------------------------------------------------------------------------------------------

BREAST_CANCER = load_breast_cancer()


def spoiled(X, value, column=7, row=None):
    """X with one more row that has `value` in every cell, or with `value` in one cell of `row`."""
    if row is None:
        return np.vstack([X, np.full((1, X.shape[1]), value)])
    X = X.copy()
    X[row, column] = value
    return X


def outlier_auc(model, X):
    """ROC AUC of rows against rows of shuffled columns."""
    rng = np.random.default_rng(0)
    shuffled = np.column_stack([rng.permutation(column) for column in X.T])
    scores = -model.score_samples(np.vstack([X, shuffled]))
    return roc_auc_score(np.repeat([0, 1], len(X)), scores)


@pytest.mark.parametrize("value", [-9999.0, 99999.0])
def test_one_bad_row_among_569_leaves_the_outlier_auc(value):
    """A row of missing-value codes costs at most 0.01."""
    X = BREAST_CANCER.data
    params = {"max_iter": 60, "random_state": 0}
    clean = outlier_auc(VAE(**params).fit(X), X)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = outlier_auc(VAE(**params).fit(spoiled(X, value)), X)
    assert clean > 0.98 and found > clean - 0.01


@pytest.mark.parametrize("value", [-9999.0, 99999.0])
def test_one_bad_row_leaves_the_accuracy(value):
    """M2 with 50 labels; the bad row is unlabeled."""
    X, truth = BREAST_CANCER.data, BREAST_CANCER.target
    y = np.where(np.arange(569) % 11 == 0, truth, -1)
    params = {"max_iter": 20, "random_state": 0}
    clean = np.mean(M2Classifier(**params).fit(X, y).predict(X) == truth)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = M2Classifier(**params).fit(spoiled(X, value), np.append(y, -1))
    assert np.mean(model.predict(X) == truth) > max(0.93, clean - 0.015)


def of_the_columns(record):
    """The messages of all warnings but those of short fits, that the bound still rose."""
    return [str(warning.message) for warning in record if warning.category is not ConvergenceWarning]


@EVERY_DENSITY
@pytest.mark.parametrize("value", [-9999, 99999])
def test_a_bad_cell_warns_once_naming_column_and_value(estimator, value):
    """The warning comes in fit, with the column's name, and is not repeated later."""
    frame = pd.DataFrame(spoiled(mixed()[:, :3], value, column=1, row=30), columns=["age", "weight", "height"])
    with pytest.warns(UserWarning) as record:
        model = fitted(estimator, frame)
    messages = of_the_columns(record)
    named = [message for message in messages if "weight" in message]
    assert len(messages) == len(named) == 1
    assert f"{value}" in named[0].replace(",", "").replace("−", "-")
    assert "'age'" not in named[0] and "height" not in named[0]
    assert np.all(np.isfinite(model.score_samples(frame))) and np.all(np.isfinite(model.transform(frame)))


def test_without_names_the_columns_number_is_given():
    """Columns of an array are counted from 0, or named x0, x1 as in get_feature_names_out."""
    with pytest.warns(UserWarning, match=r"-9999") as record:
        fitted(VAE, spoiled(mixed()[:, :3], -9999, column=1, row=30))
    (message,) = of_the_columns(record)
    assert "1" in message.replace("-9999", "").replace("1000", "")


@pytest.mark.parametrize(("n_rows", "n_bad", "is_ignored"), [(300, 1, True), (4000, 3, True), (1000, 5, False)])
def test_at_most_a_thousandth_of_the_cells_is_an_error_of_entry(n_rows, n_bad, is_ignored):
    """At least one cell may be an error; many such cells are typical of the column."""
    X = np.random.default_rng(0).normal(size=(n_rows, 3))
    X[:n_bad, 1] = 99999 + np.arange(n_bad)
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        fitted(VAE, X, max_iter=1)
    assert any("99999" in str(warning.message) for warning in record) == is_ignored


@pytest.mark.parametrize(
    ("code", "n_cells", "warns"),
    [
        (-9999.0, 2, True),
        (-9999.0, 60, True),
        (999.0, 60, True),
        (-1e6, 60, True),
        (500.0, 60, False),
        (3.0, 60, False),
    ],
)
def test_a_code_of_missing_cells_warns_however_often_it_repeats(code, n_cells, warns):
    """200 rows; 500 scales are not enough for a number that is no usual code. The fit takes the cells for data."""
    X = np.random.default_rng(0).normal(size=(200, 3))
    X[:n_cells, 1] = code
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        model = fitted(VAE, X, max_iter=1)
    messages = of_the_columns(record)
    assert len(messages) == warns
    assert all(f": {code:g} in column 1. They repeat; the fit takes them for data." in text for text in messages)
    assert np.isinf(model._columns.outlier_limit).all()


def test_cells_within_1000_scales_do_not_warn():
    """A cell 300 sd away, and a far cell with a neighbor that is almost as far."""
    X = np.random.default_rng(0).normal(size=(500, 3))
    X[0, 1] = 300
    X[0, 2], X[1, 2], X[2, 2] = 9000, 1500, 200
    fitted(VAE, X, max_iter=1)


def adult_like(n=4000, seed=0):
    """Capital gain (92 % zeros, the rest log-normal, half a percent at the cap 99999), age and hours."""
    rng = np.random.default_rng(seed)
    gain = np.where(rng.random(n) < 0.08, rng.lognormal(8.5, 1.0, n).round(), 0.0)
    gain[rng.random(n) < 0.005] = 99999
    return np.column_stack([rng.normal(38, 13, n).round(), gain, rng.normal(40, 5, n).round()])


@pytest.mark.parametrize(
    "X",
    [
        adult_like(),
        np.random.default_rng(0).lognormal(sigma=1, size=(2000, 4)),
        np.random.default_rng(0).lognormal(sigma=2, size=(2000, 4)),
        np.random.default_rng(0).standard_t(2, size=(2000, 4)),
        np.random.default_rng(0).poisson(0.05, size=(2000, 4)),
    ],
    ids=["adult", "log-normal", "wide log-normal", "t", "counts"],
)
def test_heavy_tails_and_many_zeros_do_not_warn(X):
    """Such values are typical of these columns; every score is finite."""
    assert np.all(np.isfinite(fitted(VAE, X, max_iter=1).score_samples(X)))


def test_a_zero_heavy_column_is_scaled_by_its_other_cells():
    """Its quartiles coincide, yet typical gains do not become extreme outliers."""
    X = adult_like(2000)
    model = fitted(VAE, X, max_iter=60)
    ordinary = X[:, 1] < 20000
    scores = model.score_samples(X[ordinary])
    gains = X[ordinary, 1] > 0
    assert np.median(scores[~gains]) - np.median(scores[gains]) < 50


# --- constant columns, offsets, units ---------------------------------------------------------------------------------


@EVERY_DENSITY
@pytest.mark.parametrize("value", [0.0, 5.0, -1.7e9])
def test_a_constant_column_is_kept(estimator, value):
    """The model fits, scores, decodes the column to its value, and does not warn."""
    X = mixed()
    X[:, 1] = value
    model = fitted(estimator, X, max_iter=20)
    assert np.all(np.isfinite(model.score_samples(X)))
    decoded = model.inverse_transform(model.transform(X))[:, 1]
    np.testing.assert_allclose(decoded, value, atol=0.2 + 1e-6 * abs(value))


@pytest.mark.parametrize("noise", [1e-12, 1e-6, 1e-3])
def test_a_nearly_constant_column_is_kept(noise):
    """Noise of any size around 5."""
    X = mixed()
    X[:, 1] = 5 + noise * np.random.default_rng(1).standard_normal(len(X))
    model = fitted(VAE, X, max_iter=20)
    assert np.all(np.isfinite(model.score_samples(X)))
    np.testing.assert_allclose(model.inverse_transform(model.transform(X))[:, 1], 5, atol=10 * noise + 1e-9)


def test_a_column_with_one_cell_that_differs_is_kept():
    """299 fives and one six."""
    X = mixed()
    X[:, 1] = 5
    X[17, 1] = 6
    model = fitted(VAE, X, max_iter=20)
    assert np.all(np.isfinite(model.score_samples(X)))
    assert np.abs(np.median(model.inverse_transform(model.transform(X))[:, 1]) - 5) < 0.2


DENSE = {"max_iter": 20, "n_importance_samples": 100, "early_stopping": False}


@pytest.mark.parametrize("estimator", [VAE, DLGM, M2Classifier], ids=lambda estimator: estimator.__name__)
@pytest.mark.parametrize("c", [8.0, 1e-7, 1e7], ids=str)
def test_scaling_a_column_shifts_the_log_density_by_minus_log_c(estimator, c):
    """Exactly, up to the noise of the importance weights, even for units as extreme as 1e-7 and 1e7."""
    model, X = fitted_once(estimator, mixed, **DENSE)
    scaled = X * [1, c, 1, 1, 1, 1]
    before = model.score_samples(X)
    after = fitted(estimator, scaled, **DENSE).score_samples(scaled)
    np.testing.assert_allclose(np.median(after - before), -np.log(c), atol=0.03)
    np.testing.assert_allclose(np.mean(after - before), -np.log(c), atol=0.05)


def test_only_observed_columns_count():
    """The density of a row does not shift if its scaled cell is missing."""
    X, c = mixed(), 2.0**20
    hidden = X.copy()
    hidden[::2, 1] = np.nan
    before = fitted(VAE, hidden, **DENSE)
    after = fitted(VAE, hidden * [1, c, 1, 1, 1, 1], **DENSE)
    shift = after.score_samples(hidden * [1, c, 1, 1, 1, 1]) - before.score_samples(hidden)
    np.testing.assert_allclose(shift[::2].mean(), 0, atol=0.05)
    np.testing.assert_allclose(shift[1::2].mean(), -np.log(c), atol=0.05)


def test_an_offset_of_a_time_stamp_changes_nothing():
    """1.7e9 seconds with a spread of an hour: the same density and codes, and the same decoded times up to seconds."""
    X = mixed() * [1, 1000, 1, 1, 1, 1]
    moved = X + [0, 1.7e9, 0, 0, 0, 0]
    before, after = fitted(VAE, X, **DENSE), fitted(VAE, moved, **DENSE)
    difference = after.score_samples(moved) - before.score_samples(X)
    assert abs(difference.mean()) < 0.05
    np.testing.assert_allclose(after.transform(moved), before.transform(X), atol=0.02)
    decoded = after.inverse_transform(after.transform(moved))[:, 1] - 1.7e9
    np.testing.assert_allclose(decoded, before.inverse_transform(before.transform(X))[:, 1], atol=50)


@pytest.mark.parametrize("unit", [2.0**-23, 2.0**23], ids=str)
def test_units_do_not_move_a_classifier(unit):
    """Probabilities are the same in other units."""
    model, X = fitted_once(M2Classifier, mixed, **DENSE)
    scale = np.array([unit, 1, unit, 1, 1, 1])
    before = model.predict_proba(X)
    after = fitted(M2Classifier, X * scale, **DENSE).predict_proba(X * scale)
    np.testing.assert_allclose(after, before, atol=0.01)


@pytest.mark.parametrize("kind", ["zeros", "log-normal"])
def test_the_density_of_an_awkward_column_integrates_to_one(kind):
    """Robust scales and clipped inputs leave the density a density in the units of X; zeros are a point mass."""
    rng = np.random.default_rng(0)
    column = rng.lognormal(3, 1, 400)
    if kind == "zeros":
        column *= rng.random(400) < 0.2
    model = fitted(VAE, column[:, None], max_iter=60, n_importance_samples=100)
    log_grid = np.linspace(-12, 14, 8001)
    densities = np.exp(model.score_samples(np.exp(log_grid)[:, None]) + log_grid)
    at_zero = np.exp(model.score_samples([[0.0]]))[0] if kind == "zeros" else 0.0
    assert densities.sum() * (log_grid[1] - log_grid[0]) + at_zero == pytest.approx(1, abs=0.03)
    assert kind == "log-normal" or at_zero == pytest.approx(0.8, abs=0.05)


@pytest.mark.parametrize("unit", [1e-9, 1e-41, 1e9])
def test_units_do_not_change_the_likelihood_of_positive_columns(unit):
    """Tiny numbers beside zeros are neither counts nor gray pixels, and a lognormal density shifts by the unit."""
    rng = np.random.default_rng(0)
    amounts = np.exp(rng.normal(size=(400, 2)))
    amounts[::3, 0] = 0
    found = VAE(1, max_iter=2).fit(amounts * unit).likelihoods_
    assert [one.likelihood for one in found] == ["zero_inflated_lognormal", "lognormal"]
    rows = np.exp([[0.0, 0.0], [3.0, -2.0]])
    models = [VAE(1, max_iter=3, random_state=0).fit(amounts * u) for u in (1.0, unit)]
    scores = [model.score_samples(rows * u) for model, u in zip(models, (1.0, unit), strict=True)]
    np.testing.assert_allclose(scores[1] + 2 * np.log(unit), scores[0], atol=0.05)
    alone = VAE(1, max_iter=2).fit(amounts[:, [0]] * unit)
    assert alone.likelihoods_[0].likelihood == "zero_inflated_lognormal"


def test_sparse_tiny_numbers_are_no_counts():
    X = sparse.random_array((300, 5), density=0.3, rng=np.random.default_rng(0), format="csr")
    X.data += 0.1
    kinds = [VAE(1, max_iter=1).fit(X * unit).likelihoods_[0].likelihood for unit in (1.0, 1e-9)]
    assert kinds == ["zero_inflated_lognormal" if X.max() > 1 else "bernoulli", "zero_inflated_lognormal"]


def test_a_density_falls_far_beyond_the_data():
    """A lognormal integrates to one only if cells beyond a million medians are not all alike."""
    X = np.exp(6 * np.random.default_rng(0).normal(size=(500, 1)))
    model = VAE(1, max_iter=10, random_state=0).fit(X)
    assert model.likelihoods_[0].likelihood == "lognormal"
    assert (np.diff(model.score_samples([[1e3], [1e7], [1e9], [1e20], [1e30]])) < -5).all()


@pytest.mark.parametrize("likelihood", ["poisson", "negative_binomial"])
def test_counts_of_millions_are_read(likelihood):
    rng = np.random.default_rng(0)
    rate = 5e6 * np.exp(0.3 * rng.normal(size=(300, 1)))
    X = rng.poisson(np.hstack([rate, rate])).astype(float)
    model = VAE(1, max_iter=40, likelihood=likelihood, random_state=0).fit(X)
    holes = X.copy()
    holes[:20, 0] = np.nan
    drawn = model.impute(holes, method="chain", n_steps=20, random_state=0)
    for filled, tolerance in ((model.impute(holes), 0.15), (drawn, 0.5)):
        assert np.median(np.abs(filled[:20, 0] / X[:20, 0] - 1)) < tolerance
    assert 4e6 < model.sample(500, random_state=0).mean() < 7e6
    assert (np.diff(model.score_samples([[2e6] * 2, [9e6] * 2, [1e9] * 2])) != 0).all()


def test_a_tiny_positive_number_has_a_finite_density():
    z = np.random.default_rng(0).normal(size=200)
    named = [("lognormal", [0]), ("auto", [1])]
    p_values = np.column_stack([10.0 ** (-25 * np.abs(z)), z])
    for X in (np.column_stack([np.exp(z), z]), p_values):
        model = VAE(1, max_iter=5, likelihood=named, random_state=0).fit(X)
        assert np.isfinite(model.score_samples(p_values)).all()
        assert np.isfinite(model.score_samples([[1e-300, 0.0]])).all()


@pytest.mark.parametrize("unit", [1.0, 1e-7])
def test_units_do_not_hide_unknown_categories(unit):
    X = np.round(np.random.default_rng(0).normal(size=(100, 2))).clip(-1, 1) * unit
    model = VAE(1, max_iter=1, likelihood="categorical", handle_unknown="error").fit(X)
    X[3, 0] = 7 * unit
    with pytest.raises(ValueError, match="unknown category"):
        model.score_samples(X)
