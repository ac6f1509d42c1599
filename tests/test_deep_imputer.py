"""Tests of DeepImputer: what scikit-learn's imputers do, and the draws and means of the model behind it."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from skdgm import DLGM, VAE, DeepImputer, StackedAutoencoder

NAN = np.nan
FAST = {"hidden_layer_sizes": (16,), "max_iter": 4, "random_state": 0, "n_importance_samples": 10}


def vae(**params):
    return VAE(2, **{**FAST, **params})


def rows(n=80, seed=0):
    """Four correlated columns of numbers, a tenth of the cells missing; column 3 is complete."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, 2)) @ rng.standard_normal((2, 4)) + 0.3 * rng.standard_normal((n, 4))
    X[:, :3][rng.random((n, 3)) < 0.1] = NAN
    return X


def mixed(pd, n=80):
    """A frame of a number, an integer, text, a category and a boolean; the last column is complete."""
    rng = np.random.default_rng(0)
    kind = np.arange(n) % 2
    X = pd.DataFrame(
        {
            "amount": 3.0 * kind + rng.standard_normal(n),
            "count": pd.array(2 + 3 * kind + rng.integers(0, 2, n), dtype="Int64"),
            "town": np.where(kind == 1, "Rome", "Oslo"),
            "size": pd.Categorical(np.where(kind == 1, "big", "small"), categories=["small", "big"], ordered=True),
            "member": kind == 1,
        },
        index=np.arange(n)[::-1] + 100,
    )
    for j, name in enumerate(["amount", "count", "town", "size"]):
        X.loc[X.index[j::9], name] = None
    return X


# --- what it fills ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_arrays_are_filled_as_the_model_fills_them(dtype):
    """Observed cells stay to the bit, missing ones are those of estimator_.impute; the dtype of floats stays."""
    X = rows().astype(dtype)
    imputer = DeepImputer(vae())
    filled, seen = imputer.fit_transform(X), ~np.isnan(X)
    assert filled.dtype == dtype and np.array_equal(filled[seen], X[seen]) and np.isfinite(filled).all()
    assert np.array_equal(filled, imputer.estimator_.impute(X)) and np.array_equal(filled, imputer.transform(X))
    assert np.array_equal(imputer.estimator_.transform(X), vae().fit(X).transform(X))


def test_a_frame_becomes_an_array_as_in_scikit_learn():
    """Floats for numbers; objects, with the observed cells as they were, if there is text."""
    pd = pytest.importorskip("pandas")
    X = mixed(pd)
    numbers = X[["amount", "member"]]
    filled = DeepImputer(vae()).fit_transform(numbers)
    assert filled.dtype == float and np.array_equal(filled[:, 1], numbers["member"])
    peer = SimpleImputer(strategy="most_frequent", missing_values=pd.NA).fit_transform(X)
    filled = DeepImputer(vae()).fit_transform(X)
    assert filled.dtype == peer.dtype == object and filled.shape == peer.shape
    seen = X.notna().to_numpy()
    assert [*map(type, filled[0])][2:] == [*map(type, peer[0])][2:] and (filled[seen] == peer[seen]).all()
    assert set(filled[:, 2]) == {"Rome", "Oslo"} and set(filled[:, 3]) == {"small", "big"}


def test_the_default_model_is_a_dlgm_that_ignores_unknown_categories():
    """A category that fit did not see stays in its cell and counts as missing for the others of the row."""
    X = np.array([["a", 1.0], ["b", 2.0], [None, 1.0], ["b", NAN]] * 10, dtype=object)
    imputer = DeepImputer(random_state=0).set_params(estimator__max_iter=2).fit(X)
    assert type(imputer.estimator_) is DLGM and imputer.estimator_.max_iter == 2
    assert imputer.estimator_.handle_unknown == "ignore"
    filled = imputer.transform(np.array([["c", NAN], [None, NAN]], dtype=object))
    assert filled[0, 0] == "c" and filled[1, 0] in ("a", "b") and filled[0, 1] == pytest.approx(filled[1, 1], abs=0.2)
    with pytest.raises(ValueError, match="unknown category 'c'"):
        DeepImputer(vae(handle_unknown="error")).fit(X).transform(np.array([["c", 1.0]], dtype=object))


def test_a_seed_of_its_own_stays_with_the_model():
    """random_state seeds a model without a seed; that of another model is not changed."""
    X, unseeded = rows(), vae(random_state=None)
    fits = [DeepImputer(unseeded, random_state=seed).fit_transform(X) for seed in (0, 0, 1)]
    assert np.array_equal(fits[0], fits[1]) and not np.array_equal(fits[0], fits[2])
    assert unseeded.random_state is None
    assert np.array_equal(*(DeepImputer(vae(), random_state=seed).fit_transform(X) for seed in (0, 1)))


def test_a_frozen_model_is_used_as_it_is():
    """It is not fitted again, and fills a column that is empty in fit."""
    X = rows()
    model = vae().fit(X)
    X[:, 1] = NAN
    imputer = DeepImputer(FrozenEstimator(model)).fit(X)
    assert imputer.estimator_ is model and np.array_equal(imputer.transform(X), model.impute(X))


# --- the distribution of the cells ------------------------------------------------------------------------------------


def linear_model(X):
    """A linear-Gaussian model: mean and covariance in the units of X, from the fitted weights."""
    model = DLGM(2, hidden_layer_sizes=(), posterior="full", likelihood="gaussian", max_iter=30, random_state=0)
    model.set_params(n_importance_samples=1000, early_stopping=False).fit(X)
    decoder, scale = model.module_.decoder, model._columns.scale
    W, b = (decoder.mlp.layers[0].get_parameter(name).numpy().astype(float) for name in ("weight", "bias"))
    covariance = (W @ W.T + np.diag(np.exp(decoder.shared.numpy().astype(float)))) * np.outer(scale, scale)
    return model, b * scale + model._columns.center, covariance


def test_means_and_draws_are_those_of_the_conditional_normal():
    """Against E and Cov[x_missing | x_observed] of the fitted normal, in closed form."""
    model, mean, covariance = linear_model(rows(400))
    row, n = np.array([1.0, NAN, -0.5, NAN]), 3000
    hole = np.isnan(row)
    gain = covariance[np.ix_(hole, ~hole)] @ np.linalg.inv(covariance[np.ix_(~hole, ~hole)])
    wanted = mean[hole] + gain @ (row[~hole] - mean[~hole])
    spread = covariance[np.ix_(hole, hole)] - gain @ covariance[np.ix_(~hole, hole)]
    X = np.tile(row, (n, 1))
    imputer = DeepImputer(FrozenEstimator(model)).fit(X)
    sd = np.sqrt(np.diag(spread))
    assert (np.abs(imputer.transform(X)[0, hole] - wanted) < 0.15 * sd).all()
    draws = imputer.set_params(sample_posterior=True, random_state=0).transform(X)[:, hole]
    assert (np.abs(draws.mean(0) - wanted) < 0.1 * sd).all()
    np.testing.assert_allclose(np.cov(draws.T), spread, atol=0.1 * spread.max())


def test_draws_vary_and_means_do_not():
    """An int draws the same cells in each call, as does no state in transform; None and an instance draw others."""
    X = rows()
    imputer = DeepImputer(vae(), sample_posterior=True, random_state=0).fit(X)
    assert np.array_equal(imputer.transform(X), imputer.transform(X))
    assert np.array_equal(imputer.transform(X), imputer.estimator_.impute(X, n_draws=1, random_state=0)[0])
    for state in (None, np.random.RandomState(0)):
        imputer.set_params(random_state=state)
        first, second = imputer.transform(X), imputer.transform(X)
        assert np.array_equal(first != second, np.isnan(X))
    hole = np.isnan(X).any(1)
    residual = lambda filled: filled - imputer.estimator_.inverse_transform(imputer.estimator_.transform(X))  # noqa: E731
    means = imputer.set_params(sample_posterior=False).transform(X)
    assert np.square(residual(first)[hole]).sum() > np.square(residual(means)[hole]).sum()


def test_categories_are_filled_by_the_most_probable_one_or_drawn():
    """Given the observed column, which decides 9 of 10 labels; draws keep that share."""
    rng = np.random.default_rng(0)
    number = rng.integers(0, 2, 400) * 2.0
    label = np.where((number == 2) ^ (rng.random(400) < 0.1), "yes", "no").astype(object)
    X = np.c_[number + 0.1 * rng.standard_normal(400), label].astype(object)
    imputer = DeepImputer(DLGM(2, max_iter=60, random_state=0)).fit(X)
    asked = np.array([[2.0, None]] * 300 + [[0.0, None]] * 300, dtype=object)
    means = imputer.transform(asked)[:, 1]
    assert set(means[:300]) == {"yes"} and set(means[300:]) == {"no"}
    draws = imputer.set_params(sample_posterior=True, random_state=0).transform(asked)[:, 1]
    assert 0.82 < np.mean(draws == means) < 0.97


# --- the manners of scikit-learn's imputers ---------------------------------------------------------------------------


@pytest.mark.parametrize("marker", [-1, -1.0, 0, NAN, None])
def test_a_marker_in_numbers_is_as_good_as_nan(marker):
    """The same cells, bit for bit, in arrays of floats and of objects."""
    X = rows()
    wanted = DeepImputer(vae()).fit_transform(X)
    marked = np.where(np.isnan(X), marker, X.astype(object))
    made = [marked] if marker is None else [marked, marked.astype(float)]
    for table in made:
        before = table.copy()
        assert np.array_equal(DeepImputer(vae(), missing_values=marker).fit_transform(table), wanted)
        assert table.dtype == before.dtype and np.array_equal(table == table, before == before)


def test_a_number_marks_no_boolean():
    """False equals 0 in Python, but 0 may mark incomes that were not asked for; True marks booleans only."""
    pd = pytest.importorskip("pandas")
    rows = np.arange(40)
    frame = pd.DataFrame({"income": np.where(rows % 4 == 0, 0, rows + 0.5), "smoker": rows % 3 == 0})
    for table in (frame, frame.astype({"smoker": object}), frame.to_numpy(object)):
        filled = np.asarray(DeepImputer(vae(), missing_values=0).fit_transform(table))
        assert (filled[:, 1].astype(bool) == frame["smoker"]).all()
        assert (filled[:, 0].astype(float) > 0).all()
    filled = np.asarray(DeepImputer(vae(), missing_values=True).fit_transform(frame.assign(one=1.0)))
    assert (filled[:, 2].astype(float) == 1).all() and not filled[:, 1].astype(bool).any()


def test_integers_may_hold_a_marker():
    """Means of an array of integers are floats."""
    X = np.random.default_rng(0).poisson(3, (60, 3))
    X[::7, 0] = -1
    filled = DeepImputer(vae(), missing_values=-1).fit_transform(X)
    assert filled.dtype == float and (filled[::7, 0] >= 0).all() and np.array_equal(filled[X >= 0], X[X >= 0])


@pytest.mark.parametrize("kind", ["object", "unicode"])
def test_a_marker_in_text(kind):
    """ "?" is no category, in arrays of objects or of strings."""
    X = np.array([["a", "x"], ["b", "y"], ["?", "x"], ["b", "?"]] * 10, dtype=object if kind == "object" else str)
    filled = DeepImputer(vae(), missing_values="?").fit_transform(X)
    assert filled.dtype == object and set(filled[:, 0]) == {"a", "b"} and set(filled[:, 1]) == {"x", "y"}
    assert (filled[X != "?"] == X[X != "?"]).all()


@pytest.mark.parametrize("marker", ["?", -1, "NA"])
def test_a_marker_in_frames(marker):
    """In text, categories and integers of pandas; other kinds of missing cells are missing, too."""
    pd = pytest.importorskip("pandas")
    X = mixed(pd)
    wanted = DeepImputer(vae()).set_output(transform="pandas").fit_transform(X)
    marked = X.copy()
    if marker == -1:
        marked["count"] = X["count"].fillna(-1)
        marked["amount"] = X["amount"].fillna(-1)
    elif marker == "?":
        marked["town"] = X["town"].fillna("?")
        marked["size"] = X["size"].cat.add_categories("?").fillna("?")
    imputer = DeepImputer(vae(), missing_values=pd.NA if marker == "NA" else marker)
    filled = imputer.set_output(transform="pandas").fit_transform(marked)
    if marker == "?":
        filled["size"] = filled["size"].cat.remove_unused_categories()
    pd.testing.assert_frame_equal(filled, wanted)


@pytest.mark.parametrize("library", ["polars", "pyarrow"])
def test_a_marker_in_frames_of_other_libraries(library):
    """The same cells as in pandas."""
    pd, other = pytest.importorskip("pandas"), pytest.importorskip(library)
    X = mixed(pd).drop(columns="size")
    wanted = DeepImputer(vae()).fit_transform(X)
    columns = {
        "amount": [None if pd.isna(value) else value for value in X["amount"]],
        "count": [-1 if pd.isna(value) else value for value in X["count"]],
        "town": [None if pd.isna(value) else value for value in X["town"]],
        "member": X["member"].tolist(),
    }
    frame = other.DataFrame(columns) if library == "polars" else other.table(columns)
    filled = DeepImputer(vae(), missing_values=-1).fit_transform(frame)
    gap = X["count"].isna().to_numpy()
    assert np.array_equal(filled[:, [0, 2, 3]], wanted[:, [0, 2, 3]])
    assert np.array_equal(filled[~gap, 1], wanted[~gap, 1]) and np.abs(filled[gap, 1] - wanted[gap, 1]).max() <= 0.5


def test_indicators_are_those_of_scikit_learn():
    """Values, names and dtype; columns that missed no cell in fit have none, even if they do later."""
    X, later = rows(), rows(seed=1)
    later[0] = NAN
    imputer, peer = (make(add_indicator=True).fit(X) for make in (lambda **p: DeepImputer(vae(), **p), SimpleImputer))
    found, wanted = imputer.transform(later), peer.transform(later)
    assert found.dtype == wanted.dtype and np.array_equal(found[:, 4:], wanted[:, 4:])
    assert np.array_equal(found[:, 4:], MissingIndicator(error_on_new=False).fit(X).transform(later))
    assert np.array_equal(imputer.indicator_.features_, peer.indicator_.features_)
    assert imputer.get_feature_names_out().tolist() == peer.get_feature_names_out().tolist()
    assert imputer.get_feature_names_out(list("abcd"))[4:].tolist() == [f"missingindicator_{name}" for name in "abc"]
    assert DeepImputer(vae()).fit(X).indicator_ is None


@pytest.mark.parametrize("keep", [False, True])
def test_columns_without_values(keep):
    """Dropped with SimpleImputer's warning, or filled with 0; a cell observed later stays."""
    X, later = rows(), rows(seed=1)
    X[:, 1] = NAN
    params = {"keep_empty_features": keep, "add_indicator": True}
    imputer, peer = DeepImputer(vae(), **params).fit(X), SimpleImputer(**params).fit(X)
    if keep:
        found, wanted = imputer.transform(later), peer.transform(later)
    else:
        with pytest.warns(UserWarning, match=r"Skipping features without any observed values: \[1\]"):
            found = imputer.transform(later)
        with pytest.warns(UserWarning, match=r"Skipping features without any observed values: \[1\]"):
            wanted = peer.transform(later)
    assert found.shape == wanted.shape and np.array_equal(found[:, -3:], wanted[:, -3:])
    assert imputer.get_feature_names_out().tolist() == peer.get_feature_names_out().tolist()
    if keep:
        assert np.array_equal(found[:, 1], np.nan_to_num(later[:, 1]))


def test_columns_without_values_in_frames():
    """By their dtype: 0 for numbers, False for booleans, "missing_value" for text and categories."""
    pd = pytest.importorskip("pandas")
    X = mixed(pd)
    names = ["amount", "town", "size", "member"]
    X["member"] = X["member"].astype("boolean")
    X["count"] = X["count"].fillna(1)
    for name in names:
        X[name] = pd.Series(pd.NA, index=X.index, dtype=X[name].dtype) if name != "amount" else NAN
    imputer = DeepImputer(vae(), keep_empty_features=True).set_output(transform="pandas")
    filled = imputer.fit_transform(X)
    assert filled[names].iloc[0].tolist() == [0.0, "missing_value", "missing_value", False]
    assert filled.columns.tolist() == X.columns.tolist() and filled["member"].dtype == "boolean"
    assert DeepImputer(vae(), keep_empty_features=True).fit_transform(X).dtype == object
    with pytest.warns(UserWarning, match="Skipping features"):
        assert DeepImputer(vae()).fit_transform(X).tolist() == X[["count"]].to_numpy().tolist()


def test_a_table_without_any_value_is_an_error():
    with pytest.raises(ValueError, match=r"X has no observed cell in its 2 column\(s\)"):
        DeepImputer(vae()).fit(np.full((5, 2), NAN))
    with pytest.raises(ValueError, match="Check missing_values"):
        DeepImputer(vae(), missing_values=7).fit(np.full((5, 2), 7))


@pytest.mark.parametrize("add_indicator", [False, True])
def test_pandas_out_keeps_names_index_and_dtypes(add_indicator):
    """As far as the dtypes can hold what is filled in; indicators are booleans."""
    pd = pytest.importorskip("pandas")
    X = mixed(pd)
    imputer = DeepImputer(vae(), add_indicator=add_indicator).set_output(transform="pandas")
    filled = imputer.fit_transform(X)
    assert filled.columns.tolist() == imputer.get_feature_names_out().tolist() and filled.index.equals(X.index)
    assert (filled.dtypes[:5] == X.dtypes).all() and not filled.isna().any().any()
    pd.testing.assert_frame_equal(filled[X.columns].where(X.notna()), X)
    if add_indicator:
        assert np.array_equal(filled.iloc[:, 5:], X.isna().iloc[:, :4]) and set(filled.dtypes[5:]) == {np.dtype(bool)}
    of_array = DeepImputer(vae()).set_output(transform="pandas").fit_transform(rows())
    assert of_array.columns.tolist() == ["x0", "x1", "x2", "x3"] and set(of_array.dtypes) == {np.dtype(float)}


@pytest.mark.parametrize("add_indicator", [False, True])
def test_polars_out_keeps_names_and_dtypes(add_indicator):
    """From polars; from pandas and from arrays of objects, columns get the dtypes of their cells."""
    pl, pd = pytest.importorskip("polars"), pytest.importorskip("pandas")
    X = mixed(pd)
    columns = {name: [None if pd.isna(value) else value for value in X[name]] for name in X}
    frame = pl.DataFrame(columns, schema_overrides={"size": pl.Enum(["small", "big"])})
    imputer = DeepImputer(vae(), add_indicator=add_indicator).set_output(transform="polars")
    filled = imputer.fit_transform(frame)
    assert filled.columns == imputer.get_feature_names_out().tolist() and filled.null_count().sum_horizontal()[0] == 0
    assert filled.dtypes[:5] == frame.dtypes and set(filled.dtypes[5:]) <= {pl.Boolean}
    for other in (X, frame.to_numpy()):
        found = imputer.fit_transform(other)
        assert found.dtypes[:3] == [pl.Float64, pl.Float64, pl.String] and found.shape == filled.shape
        seen = X["town"].notna().to_numpy()
        assert np.array_equal(found[:, 2].to_numpy()[seen], X["town"].to_numpy()[seen])


def test_it_can_be_cloned_and_pickled():
    """Copies give the same cells; a clone is not fitted."""
    X = rows()
    imputer = DeepImputer(vae(), add_indicator=True, missing_values=-1, random_state=0).fit(X)
    copy = clone(imputer)
    assert copy.get_params()["estimator__n_components"] == 2 and copy.missing_values == -1
    with pytest.raises(NotFittedError):
        copy.transform(X)
    assert np.array_equal(pickle.loads(pickle.dumps(imputer)).transform(X), imputer.transform(X))


def test_in_pipelines_and_searches():
    """In the place of SimpleImputer: before an encoder in a column transformer, with a search over its options."""
    pd = pytest.importorskip("pandas")
    X = mixed(pd)
    y = (np.arange(len(X)) % 2).astype(int)
    imputer = DeepImputer(vae()).set_output(transform="pandas")
    encoder = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), make_column_selector(dtype_exclude=["number", "bool"])),
        remainder="passthrough",
    )
    pipe = make_pipeline(imputer, encoder, LogisticRegression())
    search = GridSearchCV(pipe, {"deepimputer__add_indicator": [False, True]}, cv=2, error_score="raise").fit(X, y)
    assert search.score(X, y) > 0.9
    assert [step.n_features_in_ for step in search.best_estimator_.named_steps.values()][:1] == [5]


# --- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("estimator", "match"),
    [
        (FrozenEstimator(StackedAutoencoder()), "estimator must freeze a fitted skdgm.DLGM or skdgm.VAE"),
        (LogisticRegression(), r"must be a skdgm.DLGM, a skdgm.VAE, .* got LogisticRegression\(\)"),
        ("DLGM", r"got 'DLGM'. Pass an instance, such as VAE\(\)"),
    ],
)
def test_wrong_models_are_named(estimator, match):
    with pytest.raises(ValueError, match=match):
        DeepImputer(estimator).fit(rows())


def test_a_failed_fit_changes_nothing():
    """A frozen model of other columns, and cells that the model cannot read."""
    X = rows()
    imputer = DeepImputer(vae()).fit(X)
    before = imputer.transform(X)
    with pytest.raises(ValueError, match="infinity"):
        imputer.fit(np.where(np.isnan(X), np.inf, X))
    assert np.array_equal(imputer.transform(X), before)
    with pytest.raises(ValueError, match="X has 3 features, but VAE is expecting 4"):
        DeepImputer(FrozenEstimator(imputer.estimator_)).fit(X[:, :3])
    with pytest.raises(ValueError, match="X has 3 features, but DeepImputer is expecting 4"):
        imputer.transform(X[:, :3])


@pytest.mark.parametrize("library", ["polars", "pyarrow"])
def test_columns_of_the_null_type_are_kept_as_zeros(library):
    frames = pytest.importorskip(library)
    pytest.importorskip("narwhals")
    height = np.random.default_rng(0).standard_normal(40)
    empty = [None] * 40 if library == "polars" else frames.nulls(40)
    table = (frames.DataFrame if library == "polars" else frames.table)({"empty": empty, "height": height})
    filled = DeepImputer(vae(), keep_empty_features=True).fit_transform(table)
    np.testing.assert_allclose(filled, np.column_stack([np.zeros(40), height]))
