"""Tables with columns of several kinds and missing cells, in all estimators and containers, as a user meets them."""

import pickle
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import norm
from sklearn.base import clone
from sklearn.compose import make_column_selector
from sklearn.datasets import load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.utils import get_tags

from skdgm import DLGM, VAE, ADGMClassifier, M1Classifier, M1M2Classifier, M2Classifier

pd = pytest.importorskip("pandas")
pl = pytest.importorskip("polars")
pa = pytest.importorskip("pyarrow")
pytest.importorskip("narwhals.stable.v2")

NAN = np.nan
FAST = {"hidden_layer_sizes": (16,), "max_iter": 5, "random_state": 0, "n_importance_samples": 10}


def new(name, n_components=2, **params):
    """An unfitted estimator; parameters of the columns go to the encoder where there is one."""
    options = {**FAST, **params}
    if name == "M1Classifier":
        return M1Classifier(LogisticRegression(), encoder=VAE(n_components, **options), random_state=0)
    if name == "M1M2Classifier":
        of_columns = {key: options.pop(key) for key in ("likelihood", "handle_unknown") if key in options}
        encoder = VAE(n_components, **options, **of_columns)
        return M1M2Classifier(n_components, encoder=encoder, **options)
    made = {"VAE": VAE, "DLGM": DLGM, "M2Classifier": M2Classifier, "ADGMClassifier": ADGMClassifier}
    return made[name](n_components, **options)


CLASSIFIERS = ["M1Classifier", "M2Classifier", "ADGMClassifier", "M1M2Classifier"]
NAMES = ["VAE", "DLGM", *CLASSIFIERS]
DENSITIES = ["VAE", "DLGM", "M2Classifier", "ADGMClassifier", "M1M2Classifier"]


every_estimator = pytest.mark.parametrize("name", NAMES)
every_density = pytest.mark.parametrize("name", DENSITIES)
every_classifier = pytest.mark.parametrize("name", CLASSIFIERS)


def fit(model, X, y):
    return model.fit(X, y) if hasattr(model, "predict") or hasattr(model, "estimator") else model.fit(X)


def reader(model):
    """The estimator that reads the columns."""
    return getattr(model, "encoder_", model)


def outputs(model, X):
    """All deterministic answers of a fitted estimator, by method."""
    methods = ["transform", "score_samples", "elbo_samples", "predict", "predict_proba", "decision_function"]
    return {name: getattr(model, name)(X) for name in methods if hasattr(model, name)}


def assert_same_outputs(found, expected, **tolerance):
    assert found.keys() == expected.keys() and len(found) >= 3
    for method, values in expected.items():
        assert np.isfinite(np.asarray(values, float)).all(), method
        np.testing.assert_allclose(found[method], values, err_msg=method, **tolerance)


# --- one table in every container ------------------------------------------------------------------------------------

COLUMNS = ["town", "member", "rooms", "rain", "height"]
TOWNS = ["Bath", "Ely", "York"]
N_ROWS = 60


def table(holes=True, n=N_ROWS, seed=0):
    """Columns of cells, None for missing ones: text, booleans, integers, a number with a spike at zero, a number."""
    rng = np.random.default_rng(seed)
    town = rng.integers(0, 3, n)
    rain = np.where(rng.random(n) < 0.4, 0.0, rng.lognormal(0, 0.5, n))
    cells = [
        [TOWNS[code] for code in town],
        (rng.random(n) < 0.3 + 0.2 * town).tolist(),
        (1 + rng.integers(0, 4, n)).tolist(),
        rain.tolist(),
        (10 * town + rng.standard_normal(n)).tolist(),
    ]
    labels = (town > 0).astype(int)
    labels[n // 2 :] = -1
    if holes:
        hidden = rng.random((5, n)) < 0.1
        cells = [
            [None if gone else cell for cell, gone in zip(*pair, strict=True)]
            for pair in zip(cells, hidden, strict=True)
        ]
    return dict(zip(COLUMNS, cells, strict=True)), labels


def as_objects(cells):
    X = np.empty((len(cells["town"]), len(cells)), object)
    for j, column in enumerate(cells.values()):
        X[:, j] = column
    return X


def as_masked(cells):
    """Valid cells stand beneath the mask: whoever drops the mask reads them."""
    X = as_objects(cells)
    mask = np.equal(X, None).astype(bool)
    fillers = np.array(["York", True, 4, 9.5, 77.0], object)
    return np.ma.MaskedArray(np.where(mask, fillers, X), mask)


def as_pandas(cells, **dtypes):
    return pd.DataFrame({name: pd.Series(column, dtype=dtypes[name]) for name, column in cells.items()})


def as_polars(cells, town):
    types = {"town": town, "member": pl.Boolean, "rooms": pl.Int64, "rain": pl.Float64, "height": pl.Float64}
    return pl.DataFrame(cells, schema=types)


NULLABLE = {"member": "boolean", "rooms": "Int64", "rain": "Float64", "height": "float64"}
ARROW = {"member": "bool[pyarrow]", "rooms": "int64[pyarrow]", "rain": "double[pyarrow]", "height": "double[pyarrow]"}
CONTAINERS = {
    "objects": as_objects,
    "masked": as_masked,
    "list": lambda cells: [list(row) for row in zip(*cells.values(), strict=True)],
    "pandas category": lambda cells: as_pandas(cells, town=pd.CategoricalDtype(TOWNS), **NULLABLE),
    "pandas str": lambda cells: as_pandas(cells, town="str", **NULLABLE),
    "pandas string": lambda cells: as_pandas(cells, town="string", **NULLABLE),
    "pandas objects": lambda cells: pd.DataFrame({name: pd.Series(c, dtype=object) for name, c in cells.items()}),
    "pandas arrow": lambda cells: as_pandas(cells, town=pd.ArrowDtype(pa.string()), **ARROW),
    "polars string": lambda cells: as_polars(cells, pl.String),
    "polars categorical": lambda cells: as_polars(cells, pl.Categorical),
    "polars enum": lambda cells: as_polars(cells, pl.Enum(TOWNS)),
    "pyarrow": pa.table,
}
every_container = pytest.mark.parametrize("container", CONTAINERS)


def rows_of(X):
    """A table as a list of columns of Python objects, None for missing cells."""
    if isinstance(X, pa.Table):
        columns = [column.to_pylist() for column in X.columns]
    elif isinstance(X, pl.DataFrame):
        columns = [column.to_list() for column in X.get_columns()]
    elif isinstance(X, pd.DataFrame):
        columns = [X[name].astype(object).tolist() for name in X]
    else:
        X = X if isinstance(X, np.ndarray) else as_objects(dict(enumerate_columns(X)))
        columns = [column.tolist() for column in X.T]
    return [[None if cell is pd.NA or cell != cell else cell for cell in column] for column in columns]


def enumerate_columns(rows):
    return [(name, list(column)) for name, column in zip(COLUMNS, zip(*rows, strict=True), strict=True)]


def dtypes_of(X):
    if isinstance(X, pd.DataFrame):
        return X.dtypes.to_dict()
    return dict(zip(X.column_names, X.schema.types, strict=True)) if isinstance(X, pa.Table) else dict(X.schema)


@cache
def fitted(name, container, **params):
    cells, y = table()
    X = CONTAINERS[container](cells)
    return fit(new(name, **params), X, y), X


@every_container
@every_estimator
def test_the_container_changes_no_answer(name, container):
    """The same cells, missing by another name, give the same model and the same answers."""
    model, X = fitted(name, container)
    reference, rows = fitted(name, "objects")
    kinds = [choice.likelihood for choice in reader(model).likelihoods_]
    assert kinds == ["categorical", "bernoulli", "categorical", "zero_inflated_lognormal", "gaussian"]
    assert_same_outputs(outputs(model, X), outputs(reference, rows), rtol=1e-5, atol=1e-5)


@every_container
@every_estimator
def test_impute_fills_the_holes_and_nothing_else(name, container):
    """Same container, columns, order and dtypes; observed cells are equal; filled cells are in range."""
    model, X = fitted(name, container)
    before, filled = rows_of(as_objects(table()[0])), model.impute(X)
    assert type(filled) is (np.ndarray if container in ("list", "masked") else type(X))
    draws = model.impute(X, n_draws=2, random_state=0)
    for answer, is_drawn in [(filled, False), (draws[0], True), (draws[1], True)]:
        for column, (old, now) in enumerate(zip(before, rows_of(answer), strict=True)):
            assert all(b == a for b, a in zip(old, now, strict=True) if b is not None)
            new_cells = [a for b, a in zip(old, now, strict=True) if b is None]
            assert new_cells and check_cells(column, new_cells, is_drawn)
        if not isinstance(answer, np.ndarray):
            assert dtypes_of(answer) == dtypes_of(X)


def check_cells(column, cells, is_drawn=True):
    """Whether cells of a column of the table are among what it can hold."""
    if COLUMNS[column] == "town":
        return set(cells) <= set(TOWNS)
    if COLUMNS[column] == "member":
        return set(cells) <= {True, False} if is_drawn else all(0 <= cell <= 1 for cell in cells)
    if COLUMNS[column] == "rooms":
        return set(cells) <= {1, 2, 3, 4}
    return all(isinstance(cell, float) and np.isfinite(cell) for cell in cells) and (
        COLUMNS[column] != "rain" or min(cells) >= 0
    )


@every_container
@every_estimator
def test_drawn_rows_are_rows_of_the_table(name, container):
    """Same kind of frame, names, order and dtypes, and cells that the columns can hold, none missing."""
    model, X = fitted(name, container)
    drawn = reader(model).sample(200, random_state=0) if name == "M1Classifier" else model.sample(200, random_state=0)
    drawn = drawn[0] if isinstance(drawn, tuple) else drawn
    if isinstance(X, pd.DataFrame | pl.DataFrame | pa.Table):
        assert type(drawn) is type(X) and dtypes_of(drawn) == dtypes_of(X)
        assert list(dtypes_of(drawn)) == COLUMNS
    assert len(drawn) == 200
    for column, cells in enumerate(rows_of(drawn)):
        assert check_cells(column, cells)
        assert len(set(cells)) > 1


@pytest.mark.parametrize("fitted_to", ["pandas category", "polars enum", "objects", "pyarrow"])
@pytest.mark.parametrize("given", ["pandas arrow", "polars categorical", "objects", "masked", "list", "pyarrow"])
@pytest.mark.filterwarnings("ignore:X (does not have|has) .*feature names:UserWarning")
def test_rows_may_come_in_another_container_than_those_of_fit(fitted_to, given):
    model, X = fitted("M2Classifier", fitted_to)
    rows = CONTAINERS[given](table()[0])
    assert_same_outputs(outputs(model, rows), outputs(model, X), rtol=1e-6)


@every_estimator
def test_the_mask_of_an_array_of_numbers_is_read(name):
    """What stands beneath it has no effect, and NaN says the same."""
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((60, 3)), np.arange(60) % 2
    X[:, 1] += X[:, 0]
    mask = rng.random(X.shape) < 0.2
    mask[0] = False
    expected = fit(new(name), np.where(mask, NAN, X), y)
    for hidden in (0.0, 1e6):
        masked = np.ma.MaskedArray(np.where(mask, hidden, X), mask)
        model = fit(new(name), masked, y)
        assert_same_outputs(outputs(model, masked), outputs(expected, np.where(mask, NAN, X)), rtol=1e-12)
        filled = model.impute(masked)
        assert np.isfinite(filled).all() and not np.ma.isMaskedArray(filled)
        np.testing.assert_array_equal(filled[~mask], X[~mask])
        assert np.abs(filled[mask]).max() < 100


@pytest.mark.parametrize("missing", [None, NAN, float("nan"), pd.NA, np.float32("nan"), pd.NaT])
def test_all_missing_values_say_the_same(missing):
    model, X = fitted("VAE", "objects")
    rows = np.where(np.equal(X, None).astype(bool), missing, X)
    assert_same_outputs(outputs(model, rows), outputs(model, X), rtol=1e-12)


@every_estimator
def test_fitted_estimators_survive_a_pickle(name):
    model, X = fitted(name, "pandas category")
    copy = pickle.loads(pickle.dumps(model))
    assert_same_outputs(outputs(copy, X), outputs(model, X), rtol=0, atol=0)
    pd.testing.assert_frame_equal(copy.impute(X), model.impute(X))


@every_estimator
def test_tags_say_what_is_read(name):
    tags = get_tags(new(name)).input_tags
    assert tags.allow_nan and tags.string and tags.categorical and tags.sparse


@pytest.mark.parametrize("output", ["pandas", "polars"])
def test_codes_come_in_the_frame_that_set_output_names(output):
    model, X = fitted("VAE", "pandas category")
    model = pickle.loads(pickle.dumps(model)).set_output(transform=output)
    codes = model.transform(X)
    assert isinstance(codes, {"pandas": pd.DataFrame, "polars": pl.DataFrame}[output])
    assert list(codes.columns) == ["vae0", "vae1"]


def test_impute_keeps_the_index():
    model, X = fitted("VAE", "pandas category")
    moved = X.set_axis([f"row {i}" for i in range(len(X))])
    assert list(model.impute(moved).index) == list(moved.index)


# --- labels ----------------------------------------------------------------------------------------------------------

WORDS = ["no", "yes"]
LABELS = {
    "pandas str": (lambda codes: pd.Series([None if c < 0 else WORDS[c] for c in codes], dtype="str"), WORDS),
    "pandas string": (lambda codes: pd.Series([None if c < 0 else WORDS[c] for c in codes], dtype="string"), WORDS),
    "pandas arrow": (
        lambda codes: pd.Series([None if c < 0 else WORDS[c] for c in codes], dtype=pd.ArrowDtype(pa.string())),
        WORDS,
    ),
    "categorical": (lambda codes: pd.Categorical([None if c < 0 else WORDS[c] for c in codes]), WORDS),
    "categorical series": (
        lambda codes: pd.Series(pd.Categorical([None if c < 0 else WORDS[c] for c in codes], ["yes", "unused", "no"])),
        WORDS,
    ),
    "categorical integers": (lambda codes: pd.Categorical([None if c < 0 else c + 5 for c in codes]), [5, 6]),
    "nullable integers": (lambda codes: pd.Series([None if c < 0 else c for c in codes], dtype="Int64"), [0, 1]),
    "nullable booleans": (
        lambda codes: pd.Series([None if c < 0 else bool(c) for c in codes], dtype="boolean"),
        [False, True],
    ),
    "object booleans": (lambda codes: np.array([None if c < 0 else bool(c) for c in codes]), [False, True]),
    "polars strings": (lambda codes: pl.Series([None if c < 0 else WORDS[c] for c in codes]), WORDS),
    "polars categorical": (
        lambda codes: pl.Series([None if c < 0 else WORDS[c] for c in codes], dtype=pl.Categorical),
        WORDS,
    ),
    "polars booleans": (lambda codes: pl.Series([None if c < 0 else bool(c) for c in codes]), [False, True]),
    "polars integers": (lambda codes: pl.Series([None if c < 0 else int(c) for c in codes]), [0, 1]),
    "pyarrow integers": (lambda codes: pa.array([None if c < 0 else int(c) for c in codes]), [0, 1]),
    "pyarrow strings": (lambda codes: pa.chunked_array([[None if c < 0 else WORDS[c] for c in codes]]), WORDS),
}


@pytest.mark.parametrize("kind", LABELS)
@every_classifier
def test_labels_keep_their_type(name, kind):
    """Missing labels are unlabeled; classes and predictions are of the labels' own type; names change no prediction."""
    cells, codes = table()
    make, classes = LABELS[kind]
    X, y = CONTAINERS["pandas category"](cells), make(codes.tolist())
    model = new(name, max_iter=2).fit(X, y)
    assert model.classes_.tolist() == classes
    assert all(type(label) is type(classes[0]) for label in model.classes_.tolist())
    predicted = model.predict(X)
    assert predicted.dtype == model.classes_.dtype
    expected = _codes_predicted(name)
    np.testing.assert_array_equal(predicted, model.classes_[expected])
    labeled = codes >= 0
    assert model.score(X, y) == pytest.approx(np.mean(expected[labeled] == codes[labeled]))


@cache
def _codes_predicted(name):
    cells, codes = table()
    X = CONTAINERS["pandas category"](cells)
    return new(name, max_iter=2).fit(X, codes).predict(X)


@every_classifier
def test_complete_boolean_labels(name):
    cells, codes = table()
    X, y = CONTAINERS["pandas category"](cells), np.arange(N_ROWS) % 2 == 0
    model = new(name, max_iter=2).fit(X, y)
    assert model.classes_.dtype == bool and model.predict(X).dtype == bool


# --- names of columns -------------------------------------------------------------------------------------------------

CHANGES = {
    "reordered": (lambda X: X[COLUMNS[::-1]], "same order"),
    "renamed": (lambda X: X.rename(columns={"rain": "snow"}), "snow"),
    "dropped": (lambda X: X.drop(columns="rain"), "rain"),
    "added": (lambda X: X.assign(extra=1.0), "extra"),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("library", ["pandas", "polars"])
@every_estimator
def test_changed_columns_are_refused_in_every_method(name, library, change):
    model, X = fitted(name, "pandas category")
    changed, message = CHANGES[change]
    wrong = changed(X)
    if library == "polars":
        wrong = pl.DataFrame(
            {column: wrong[column].astype(object).where(wrong[column].notna(), None).tolist() for column in wrong}
        )
    expected = outputs(model, X)
    for method in [*expected, "impute"]:
        with pytest.raises(ValueError, match=message):
            getattr(model, method)(wrong)
    assert_same_outputs(outputs(model, X), expected, rtol=0, atol=0)


@pytest.mark.parametrize("container", ["pandas str", "polars string"])
def test_names_are_those_of_the_frame(container):
    model, _ = fitted("VAE", container)
    assert model.feature_names_in_.tolist() == COLUMNS
    assert [choice.column for choice in model.likelihoods_] == COLUMNS


# --- choosing likelihoods ---------------------------------------------------------------------------------------------


def numbers(n=60):
    """Two numbers, a count, and a 0/1 column."""
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {"a": rng.standard_normal(n), "b": rng.standard_normal(n), "n": rng.poisson(3, n), "bit": rng.integers(0, 2, n)}
    )


SELECTORS = {
    "name": (["a", "b"], ["n"], "bit"),
    "position": ([0, 1], [2], 3),
    "negative position": ([-4, -3], [-2], -1),
    "slice": (slice(0, 2), slice(2, 3), slice(3, None)),
    "slice of names": (slice("a", "b"), slice("n", "n"), slice("bit", None)),
    "mask": ([True, True, False, False], np.array([False, False, True, False]), [False, False, False, True]),
    "callable": (
        make_column_selector(dtype_include="float"),
        make_column_selector(pattern="^n$"),
        lambda X: [column for column in X.columns if column == "bit"],
    ),
}
WANTED = ["student_t", "student_t", "poisson", "bernoulli"]


@pytest.mark.parametrize("selector", SELECTORS)
@every_estimator
def test_columns_of_a_group_are_selected_as_in_column_transformer(name, selector):
    t, poisson, bit = SELECTORS[selector]
    likelihood = [("bernoulli", bit), ("student_t", t), ("poisson", poisson)]
    X = numbers()
    model = fit(new(name, likelihood=likelihood, max_iter=1), X, np.arange(len(X)) % 2)
    choices = reader(model).likelihoods_
    assert [choice.likelihood for choice in choices] == WANTED
    assert [choice.column for choice in choices] == list(X)
    assert {choice.reason for choice in choices} == {"named"}


@pytest.mark.parametrize("make", [pl.from_pandas, pd.DataFrame.to_numpy], ids=["polars", "array"])
@pytest.mark.parametrize("selector", ["name", "position", "slice", "mask"])
def test_columns_of_a_group_are_selected_in_other_tables(make, selector):
    t, poisson, bit = SELECTORS[selector]
    X = make(numbers())
    model = new("VAE", likelihood=[("bernoulli", bit), ("student_t", t), ("poisson", poisson)], max_iter=1)
    if selector == "name" and isinstance(X, np.ndarray):
        with pytest.raises(ValueError, match="string"):
            model.fit(X)
        return
    assert [choice.likelihood for choice in model.fit(X).likelihoods_] == WANTED


def test_auto_may_stand_in_a_group():
    model = new("VAE", likelihood=[("auto", ["n", "a", "bit"]), ("student_t", ["b"])], max_iter=1).fit(numbers())
    alone = new("VAE", max_iter=1).fit(numbers())
    for j in (0, 2, 3):
        assert model.likelihoods_[j] == alone.likelihoods_[j]
    assert model.likelihoods_[1].likelihood == "student_t"


@every_estimator
def test_each_column_stands_in_exactly_one_group(name):
    X, y = numbers(), np.arange(60) % 2
    twice = [("gaussian", ["a", "b", "n"]), ("poisson", ["n", "bit"])]
    with pytest.raises(ValueError, match=r"'n' is in two groups, 'gaussian' and 'poisson'.*exactly once"):
        fit(new(name, likelihood=twice), X, y)
    with pytest.raises(ValueError, match=r"'bit' is in no group.*exactly once"):
        fit(new(name, likelihood=[("gaussian", ["a", "b", "n"])]), X, y)
    with pytest.raises(ValueError, match="snow"):
        fit(new(name, likelihood=[("gaussian", ["a", "b", "n", "snow"])]), X, y)
    with pytest.raises(ValueError, match=r"'normal'.*'gaussian'"):
        fit(new(name, likelihood=[("normal", ["a", "b", "n", "bit"])]), X, y)

    with pytest.raises(TypeError, match=r"pairs .*likelihood=\[\('poisson', \['n'\]\), \('auto', "):
        fit(new(name, likelihood={"n": "poisson"}), X, y)


class LazyText:
    """What dask says of a frame: types without rows."""

    shape, columns, dtypes = (60, 1), ["a"], ["string"]

    def compute(self):
        raise AssertionError


NO_TABLES = {
    "path": (Path("table.csv"), "Read the file"),
    "name": ("table.csv", "Read the file"),
    "dict": ({"a": [1.0, 2.0] * 30}, r"pandas.DataFrame\(X\)"),
    "generator": ((row for row in np.eye(60)), r"list\(X\)"),
    "batch": (pa.RecordBatch.from_pydict({"a": [1.0, 2.0] * 30}), r"from_batches\(\[X\]\)"),
    "lazy": (LazyText(), r"X.compute\(\)"),
}


@pytest.mark.parametrize("case", NO_TABLES)
@every_estimator
def test_what_is_no_table_is_named(name, case):
    X, message = NO_TABLES[case]
    model, _ = fitted(name, "pandas category")
    expected = rf"{type(model).__name__} reads tables .*{type(X).__name__}\. .*{message}"
    with pytest.raises(TypeError, match=expected):
        fit(new(name), X, np.arange(60) % 2)
    with pytest.raises(TypeError, match=message):
        model.transform(X)


BAD_CELLS = [
    ("poisson", -1.0),
    ("poisson", 1.5),
    ("negative_binomial", 0.25),
    ("bernoulli", 3.0),
    ("lognormal", 0.0),
    ("lognormal", -2.5),
    ("zero_inflated_lognormal", -0.5),
]


@pytest.mark.parametrize(("likelihood", "value"), BAD_CELLS)
@pytest.mark.parametrize("name", ["VAE", "DLGM", "M1Classifier", "M2Classifier", "M1M2Classifier"])
def test_a_cell_that_a_named_likelihood_cannot_hold_is_named(name, likelihood, value):
    """In fit and in score_samples: column, value, row, and what to do; the fitted estimator stays as it was."""
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"a": rng.standard_normal(60), "held": rng.integers(0, 2, 60).astype(float)})
    X["held"] += likelihood == "lognormal"
    y = np.arange(60) % 2
    wrong = X.copy()
    wrong.loc[7, "held"] = value
    message = rf"{likelihood}.*{value:g} in column 'held', row 7\. (Use|Scale)"
    model = fit(new(name, likelihood=[("gaussian", ["a"]), (likelihood, ["held"])], max_iter=1), X, y)
    expected = outputs(model, X)
    with pytest.raises(ValueError, match=message):
        fit(model, wrong, y)
    for method in ("score_samples", "impute"):
        if hasattr(model, method):
            with pytest.raises(ValueError, match=message):
                getattr(model, method)(wrong)
    assert_same_outputs(outputs(model, X), expected, rtol=0, atol=0)


@pytest.mark.parametrize("likelihood", ["gaussian", "poisson", "lognormal", "student_t", "bernoulli"])
def test_text_is_refused_by_likelihoods_of_numbers(likelihood):
    """Codes of categories are no numbers: no likelihood of numbers may read them."""
    X = pd.DataFrame({"a": np.random.default_rng(0).standard_normal(60), "town": ["Ely", "Bath"] * 30})
    with pytest.raises(ValueError, match=r"'town'"):
        new("VAE", likelihood=[("gaussian", ["a"]), (likelihood, ["town"])]).fit(X)


# --- bad input --------------------------------------------------------------------------------------------------------


@every_estimator
def test_unknown_categories_follow_handle_unknown(name):
    cells, y = table()
    X = CONTAINERS["pandas str"](cells)
    odd, missing = X.copy(), X.copy()
    odd.loc[3, "town"], missing.loc[3, "town"] = "Atlantis", None
    named = r"'Atlantis' in column 'town', row 3"
    for handle_unknown in ("error", "warn", "ignore"):
        model = fit(new(name, handle_unknown=handle_unknown), X, y)
        expected = outputs(model, missing)
        if handle_unknown == "error":
            with pytest.raises(ValueError, match=named):
                model.transform(odd)
            assert_same_outputs(outputs(model, missing), expected, rtol=0, atol=0)
            continue
        if handle_unknown == "warn":
            with pytest.warns(UserWarning, match=named):
                found = outputs(model, odd)
        else:
            found = outputs(model, odd)
        cost = np.where(np.arange(N_ROWS) == 3, 10.0, 0.0)
        for method in ("score_samples", "elbo_samples"):
            if method in expected:
                expected[method] = expected[method] - cost
        assert_same_outputs(found, expected, rtol=1e-5, atol=1e-5)


@every_estimator
@pytest.mark.parametrize("container", ["objects", "pandas category", "polars string", "pyarrow"])
def test_a_column_without_any_cell_is_refused_by_name(name, container):
    cells, y = table()
    empty = CONTAINERS[container]({**cells, "rain": [None] * N_ROWS})
    model = fit(new(name, max_iter=1), CONTAINERS[container](cells), y)
    expected = outputs(model, CONTAINERS[container](cells))
    with pytest.raises(ValueError, match=r"3|'rain'") as error:
        fit(model, empty, y)
    assert ("every row: 3" if container == "objects" else "'rain'") in str(error.value)
    assert_same_outputs(outputs(model, CONTAINERS[container](cells)), expected, rtol=0, atol=0)
    # at prediction, all its cells may be missing
    assert all(np.isfinite(np.asarray(values, float)).all() for values in outputs(model, empty).values())


BAD_TABLES = {
    "infinite": (lambda X: X.assign(height=np.where(np.arange(N_ROWS) == 4, np.inf, 0.0)), "'height', row 4"),
    "text among numbers": (lambda X: X.assign(height=["tall", *[1.0] * (N_ROWS - 1)]), None),
    "dates": (lambda X: X.assign(height=pd.Timestamp("2020-01-01")), "'height'"),
    "complex": (lambda X: X.assign(height=1j), "'height'"),
    "too few labels": (lambda X: X.iloc[:-1], "."),
    "no rows": (lambda X: X.iloc[:0], "0 sample"),
}


@pytest.mark.parametrize("bad", BAD_TABLES)
@every_classifier
def test_a_fit_that_fails_leaves_the_fitted_estimator_as_it_was(name, bad):
    cells, y = table()
    X = CONTAINERS["pandas category"](cells)
    model = clone(new(name, max_iter=1)).fit(X, y)
    expected, names = outputs(model, X), model.feature_names_in_.tolist()
    change, message = BAD_TABLES[bad]
    wrong = change(X).rename(columns={"town": "city"})
    if message is None:  # text makes it a column of categories
        with pytest.raises(ValueError, match=r"'tall' in column 'height', row 0"):
            model.predict(change(X))
    else:
        with pytest.raises((ValueError, TypeError), match=message):
            model.fit(wrong, y)
    assert model.feature_names_in_.tolist() == names
    assert_same_outputs(outputs(model, X), expected, rtol=0, atol=0)


# --- drawn rows are rows ----------------------------------------------------------------------------------------------

LONGER = {"max_iter": 60, "hidden_layer_sizes": (16,), "learning_rate_init": 0.01}


def draw(model, n):
    drawn = model.sample(n, random_state=0)
    return drawn[0] if isinstance(drawn, tuple) else drawn


def answers(n=500):
    """Six five-point answers with shares from 35 to 5 % that depend on one attitude."""
    rng = np.random.default_rng(0)
    attitude = rng.standard_normal((n, 1))
    score = 0.7 * attitude + np.sqrt(1 - 0.49) * rng.standard_normal((n, 6))
    limits = norm.ppf(np.cumsum([0.35, 0.3, 0.2, 0.1]))
    return pd.DataFrame(1 + np.searchsorted(limits, score), columns=[f"q{j}" for j in range(6)]), (attitude > 0)[:, 0]


@every_density
def test_drawn_answers_are_answers_in_the_right_shares(name):
    X, y = answers()
    model = fit(new(name, max_iter=None, hidden_layer_sizes=(200,), learning_rate_init=3e-3), X, y)
    drawn = draw(model, 4000)
    assert (drawn.dtypes == X.dtypes).all()
    for column in X:
        assert set(drawn[column]) <= {1, 2, 3, 4, 5}
        shares = [np.bincount(values, minlength=6) / len(values) for values in (drawn[column], X[column])]
        assert np.abs(shares[0] - shares[1]).max() < 0.03, column
    holed = X.astype("Int64").mask(np.random.default_rng(1).random(X.shape) < 0.2)
    for filled in (model.impute(holed), *model.impute(holed, n_draws=2, random_state=0)):
        assert filled.isin([1, 2, 3, 4, 5]).all(axis=None)


@every_density
def test_a_number_and_the_category_that_fixes_it_agree(name):
    number = np.tile([1, 2, 3], 150)
    X = pd.DataFrame({"number": number, "word": np.array(["one", "two", "three"], object)[number - 1]})
    drawn = draw(fit(new(name, **LONGER), X, number), 2000)
    words = drawn["word"].map({"one": 1, "two": 2, "three": 3})
    assert (words == drawn["number"]).mean() >= 0.95
    shares = drawn["number"].value_counts(normalize=True)
    assert np.abs(shares - 1 / 3).max() < 0.1 and len(shares) == 3


@every_density
def test_drawn_rain_is_never_negative_and_as_often_zero(name):
    rng = np.random.default_rng(0)
    wet = rng.random(400) < 0.6
    X = pd.DataFrame(
        {
            "season": pd.Categorical(
                np.where(rng.random(400) < 0.2 + 0.6 * wet, "winter", "summer"), ["winter", "summer"]
            ),
            "rain": np.where(wet, rng.lognormal(1, 0.7, 400), 0.0),
            "guests": rng.poisson(20, 400),
        }
    )
    drawn = draw(fit(new(name, **LONGER), X, wet), 4000)
    assert list(drawn) == list(X) and (drawn.dtypes == X.dtypes).all()
    assert (drawn["rain"] >= 0).all()
    assert np.mean(drawn["rain"] == 0) == pytest.approx(np.mean(X["rain"] == 0), abs=0.05)
    assert X["guests"].min() <= drawn["guests"].min() and drawn["guests"].max() <= X["guests"].max()
    by_season = drawn["rain"].eq(0).groupby(drawn["season"], observed=True).mean()
    assert by_season["summer"] > by_season["winter"] + 0.2
    logs = np.log(drawn["rain"][drawn["rain"] > 0])
    assert logs.mean() == pytest.approx(1, abs=0.15) and logs.std() == pytest.approx(0.7, abs=0.15)


@every_density
def test_arbitrary_codes_of_a_category_are_filled_right(name):
    """Numbers that only name a category are no quantities: no order, no mean."""
    rng = np.random.default_rng(0)
    codes = np.array([40, 3, 71, 18, 5, 66])
    kind = rng.integers(0, 6, 400)
    X = pd.DataFrame({"code": codes[kind], "name": np.array(list("uvwxyz"), object)[kind]})
    draws = {"n_importance_samples": 50} if name == "ADGMClassifier" else {}  # every draw has a fill of its own
    model = fit(new(name, 4, **LONGER, **draws), X, kind % 2)
    holed = X.astype({"code": "Int64"})
    holed.loc[:199, "code"] = pd.NA
    holed.loc[200:, "name"] = None
    filled = model.impute(holed)
    assert (filled["code"][:200] == X["code"][:200]).mean() >= 0.95
    assert (filled["name"][200:] == X["name"][200:]).mean() >= 0.95


@every_density
def test_the_density_of_a_category_and_a_number_sums_to_one(name):
    rng = np.random.default_rng(0)
    town = rng.integers(0, 3, 150)
    X = pd.DataFrame({"town": np.array(TOWNS, object)[town], "height": 170 + 10 * town + 5 * rng.standard_normal(150)})
    model = fit(new(name, **{**FAST, "max_iter": 20, "n_importance_samples": 200}), X, town > 0)
    grid = np.linspace(70, 310, 321)
    rows = pd.DataFrame({"town": np.repeat(TOWNS, len(grid)), "height": np.tile(grid, 3)})
    density = np.exp(model.score_samples(rows))
    assert density.sum() * (grid[1] - grid[0]) == pytest.approx(1, abs=0.02)
    # the probability of a town is the integral over heights
    model.set_params(n_importance_samples=2000)
    towns = pd.DataFrame({"town": TOWNS, "height": [NAN] * 3})
    integrals = density.reshape(3, -1).sum(1) * (grid[1] - grid[0])
    np.testing.assert_allclose(np.exp(model.score_samples(towns)), integrals, atol=0.03)


# --- holes at prediction ----------------------------------------------------------------------------------------------


def factors(n=400):
    """Six numbers that depend on two factors, in their own units, one not linearly."""
    rng = np.random.default_rng(0)
    z = rng.standard_normal((n, 2))
    loadings = np.array([[1.0, 0.0], [0.8, 0.3], [0.0, 1.0], [-0.5, 0.9], [0.7, -0.7], [0.3, 0.2]])
    X = z @ loadings.T + 0.3 * rng.standard_normal((n, 6))
    X[:, 5] += 0.5 * z[:, 0] ** 2
    return 100 + X * [1, 10, 100, 0.1, 3, 1]


@cache
def fitted_to_complete_rows(name):
    X = factors()
    model = new(name, likelihood="gaussian", max_iter=60, n_importance_samples=100, learning_rate_init=0.01)
    return model.fit(X[:300]), X[300:]


def decoder_on_grid(model, half_width=6.0, n=161):
    """log p(z) dz on a grid of two dimensions, and mean and sd of each cell given z, in the units of X."""
    import torch

    axis = np.linspace(-half_width, half_width, n)
    z = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    means = model.inverse_transform(z)
    with torch.no_grad():
        standardized = model.module_.p_x(torch.from_numpy(z).float()).mean.double().numpy()
        log_p_z = model.module_.p_z.log_prob(torch.from_numpy(z).float()).double().numpy()
        variances = np.exp(model.module_.decoder.shared.double().numpy())
    scale = means.std(0) / standardized.std(0)  # of the columns; both are means of the same cells in other units
    return log_p_z + 2 * np.log(axis[1] - axis[0]), means, scale * np.sqrt(variances)


def holed_rows(X):
    holed = X.copy()
    holes = np.arange(len(X)) % X.shape[1]
    holed[np.arange(len(X)), holes] = NAN
    return holed, holes


@pytest.mark.parametrize("name", ["VAE", "DLGM"])
def test_rows_with_a_hole_have_the_density_of_their_observed_cells(name):
    """Against quadrature over the code with the fitted decoder, after a fit to complete rows."""
    model, X = fitted_to_complete_rows(name)
    log_w, means, sds = decoder_on_grid(model)
    holed, _ = holed_rows(X)
    for rows in (X, holed):
        expected = [logsumexp(log_w + np.nansum(norm.logpdf(row, means, sds), 1)) for row in rows]
        assert np.abs(model.score_samples(rows) - expected).mean() < 0.05


@pytest.mark.parametrize("name", ["VAE", "DLGM"])
def test_imputed_draws_have_the_spread_of_the_conditional_distribution(name):
    model, X = fitted_to_complete_rows(name)
    log_w, means, sds = decoder_on_grid(model)
    holed, holes = holed_rows(X)
    draws = model.impute(holed, n_draws=300, random_state=0)[:, np.arange(len(X)), holes]
    ratios, shifts = [], []
    for row, hole, cells in zip(holed, holes, draws.T, strict=True):
        log_p = log_w + np.nansum(norm.logpdf(row, means, sds), 1)
        p = np.exp(log_p - logsumexp(log_p))
        mean = p @ means[:, hole]
        sd = np.sqrt(p @ (means[:, hole] - mean) ** 2 + sds[hole] ** 2)
        ratios.append(cells.std() / sd)
        shifts.append((cells.mean() - mean) / sd)
    assert np.mean(ratios) == pytest.approx(1, abs=0.05)
    assert np.abs(shifts).mean() < 0.15


@every_classifier
def test_classifiers_read_rows_with_holes(name):
    """30 % of the cells missing at prediction only: little is lost, and far more is known than by chance."""
    X, y = load_wine(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(X))
    X, y = X[order], y[order]
    model = fit(new(name, max_iter=60), X[:90], np.where(np.arange(90) < 45, y[:90], -1))
    holed = X[90:].copy()
    holed[np.random.default_rng(1).random(holed.shape) < 0.3] = NAN
    complete, with_holes = model.score(X[90:], y[90:]), model.score(holed, y[90:])
    assert complete > 0.9
    assert with_holes > complete - 0.1
    if hasattr(model, "predict_proba"):
        probabilities = model.predict_proba(holed)
        np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-6)
        assert np.log(probabilities[np.arange(len(holed)), y[90:]]).mean() > np.log(0.5)
        unknown = model.predict_proba(np.full((1, 13), NAN))
        assert unknown.max() < 0.95  # nothing is known of this row
