"""Tables of any kind are read as floats and come back as they were."""

import datetime
import itertools
import pickle
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from scipy import sparse

from skdgm.estimators import _frames
from skdgm.estimators._tables import TableFormat

pd = pytest.importorskip("pandas")
pl = pytest.importorskip("polars")
pa = pytest.importorskip("pyarrow")
polars_testing = pytest.importorskip("polars.testing")
pytest.importorskip("narwhals.stable.v2")

NAN = np.nan
TEXT = ["b", None, "a", "b"]
NUMBERS = [3, None, 1, 2]


def read(form, X, handle_unknown="error"):
    return form.read(X, handle_unknown=handle_unknown, owner="VAE")


def fit_read(X):
    form = TableFormat.of(X)
    return form, read(form, X)


def objects(rows):
    """An array of objects, whatever these are."""
    X = np.empty((len(rows), len(rows[0])), object)
    for i, row in enumerate(rows):
        for j, cell in enumerate(row):
            X[i, j] = cell
    return X


def dictionary(values, ordered=False, categories=("b", "a", "z")):
    codes = [None if value is None else categories.index(value) for value in values]
    return pa.DictionaryArray.from_arrays(pa.array(codes, pa.int8()), pa.array(categories), ordered=ordered)


# --- a column of each dtype: the column, its kind, and what it is read as --------------------------------------------

NULLABLE = [True, None, False, True]
ARROW_DICTIONARY = pd.ArrowDtype(pa.dictionary(pa.int8(), pa.string()))
CENTS = [Decimal("0.25"), None, Decimal("1.00")]
PANDAS = {
    "int64": (pd.Series([3, 0, 1, 2]), "number", [3, 0, 1, 2]),
    "uint8": (pd.Series([3, 0, 1, 2], dtype="uint8"), "number", [3, 0, 1, 2]),
    "float64": (pd.Series([3.5, NAN, 1, 2]), "number", [3.5, NAN, 1, 2]),
    "float32": (pd.Series([3.5, NAN, 1, 2], dtype="float32"), "number", [3.5, NAN, 1, 2]),
    "float16": (pd.Series([3.5, NAN, 1, 2], dtype="float16"), "number", [3.5, NAN, 1, 2]),
    "bool": (pd.Series([True, False, True]), "boolean", [1, 0, 1]),
    "Int64": (pd.Series(NUMBERS, dtype="Int64"), "number", [3, NAN, 1, 2]),
    "Float32": (pd.Series([0.5, None, 1], dtype="Float32"), "number", [0.5, NAN, 1]),
    "boolean": (pd.Series(NULLABLE, dtype="boolean"), "boolean", [1, NAN, 0, 1]),
    "default text": (pd.Series(["b", NAN, "a"]), "category", [1, NAN, 0]),
    "string": (pd.Series(TEXT, dtype="string"), "category", [1, NAN, 0, 1]),
    "text objects": (pd.Series(["b", NAN, "a"], dtype=object), "category", [1, NAN, 0]),
    "number objects": (pd.Series([0.5, NAN, 2], dtype=object), "number", [0.5, NAN, 2]),
    "boolean objects": (pd.Series([True, NAN, False], dtype=object), "boolean", [1, NAN, 0]),
    "mixed objects": (pd.Series(["b", NAN, 7, "a"], dtype=object), "category", [2, NAN, 0, 1]),
    "category": (pd.Series(pd.Categorical(TEXT, ["z", "b", "a"])), "category", [0, NAN, 1, 0]),
    "ordered": (pd.Series(pd.Categorical(TEXT, ["z", "b", "a"], ordered=True)), "category", [0, NAN, 1, 0]),
    "integer category": (pd.Series(pd.Categorical(NUMBERS, [3, 2, 1])), "category", [0, NAN, 2, 1]),
    "boolean category": (pd.Series(pd.Categorical(NULLABLE)), "category", [1, NAN, 0, 1]),
    "day category": (pd.Series(pd.Categorical(pd.to_datetime(["2020", None, "2019"]))), "category", [1, NAN, 0]),
    "interval category": (pd.Series(pd.cut([3, NAN, 1, 2], 2)), "category", [1, NAN, 0, 0]),
    "period": (pd.Series(pd.PeriodIndex(["2020", None, "2019"], freq="D")), "category", [1, NAN, 0]),
    "sparse": (pd.Series(pd.arrays.SparseArray([0.5, NAN, 1])), "number", [0.5, NAN, 1]),
    "int64[pyarrow]": (pd.Series(NUMBERS, dtype="int64[pyarrow]"), "number", [3, NAN, 1, 2]),
    "double[pyarrow]": (pd.Series([0.5, None, 1], dtype="double[pyarrow]"), "number", [0.5, NAN, 1]),
    "bool[pyarrow]": (pd.Series(NULLABLE, dtype="bool[pyarrow]"), "boolean", [1, NAN, 0, 1]),
    "decimal[pyarrow]": (pd.Series(CENTS, dtype=pd.ArrowDtype(pa.decimal128(9, 2))), "number", [0.25, NAN, 1]),
    "string[pyarrow]": (pd.Series(TEXT, dtype=pd.ArrowDtype(pa.string())), "category", [1, NAN, 0, 1]),
    "dictionary[pyarrow]": (pd.Series(TEXT, dtype=ARROW_DICTIONARY), "category", [1, NAN, 0, 1]),
}
POLARS = {
    "Int64": (pl.Series(NUMBERS), "number", [3, NAN, 1, 2]),
    "UInt8": (pl.Series([3, 0, 1], dtype=pl.UInt8), "number", [3, 0, 1]),
    "Float64": (pl.Series([0.5, None, 1]), "number", [0.5, NAN, 1]),
    "Float32": (pl.Series([0.5, None, 1], dtype=pl.Float32), "number", [0.5, NAN, 1]),
    "Decimal": (pl.Series(CENTS, dtype=pl.Decimal(9, 2)), "number", [0.25, NAN, 1]),
    "Boolean": (pl.Series(NULLABLE), "boolean", [1, NAN, 0, 1]),
    "String": (pl.Series(TEXT), "category", [1, NAN, 0, 1]),
    "Categorical": (pl.Series(TEXT, dtype=pl.Categorical), "category", [1, NAN, 0, 1]),
    "Enum": (pl.Series(TEXT, dtype=pl.Enum(["z", "b", "a"])), "category", [0, NAN, 1, 0]),
    "Binary": (pl.Series([b"b", None, b"a"]), "category", [1, NAN, 0]),
    "Object": (pl.Series(["b", None, 7], dtype=pl.Object), "category", [1, NAN, 0]),
}
if hasattr(pl, "Int128"):  # polars >= 1.18
    POLARS["Int128"] = (pl.Series(NUMBERS, dtype=pl.Int128), "number", [3, NAN, 1, 2])
PYARROW = {
    "int64": (pa.array(NUMBERS), "number", [3, NAN, 1, 2]),
    "uint8": (pa.array([3, 0, 1], pa.uint8()), "number", [3, 0, 1]),
    "double": (pa.array([0.5, None, 1]), "number", [0.5, NAN, 1]),
    "float": (pa.array([0.5, None, 1], pa.float32()), "number", [0.5, NAN, 1]),
    "decimal": (pa.array(CENTS), "number", [0.25, NAN, 1]),
    "bool": (pa.array(NULLABLE), "boolean", [1, NAN, 0, 1]),
    "string": (pa.array(TEXT), "category", [1, NAN, 0, 1]),
    "large_string": (pa.array(TEXT, pa.large_string()), "category", [1, NAN, 0, 1]),
    "dictionary": (dictionary(TEXT), "category", [1, NAN, 0, 1]),
    "ordered dictionary": (dictionary(TEXT, ordered=True), "category", [0, NAN, 1, 0]),
}
COLUMNS = {"pandas": PANDAS, "polars": POLARS, "pyarrow": PYARROW}
CASES = [pytest.param(name, *case, id=f"{name}-{dtype}") for name in COLUMNS for dtype, case in COLUMNS[name].items()]
every_dtype = pytest.mark.parametrize("container, x, kind, values", CASES)


def frame(container, x):
    return {"pandas": pd.DataFrame, "polars": pl.DataFrame, "pyarrow": pa.table}[container]({"x": x})


def cells_of(container, x):
    return x.to_pylist() if container == "pyarrow" else x.to_list()


def assert_same(container, got, wanted):
    """Equal cells, dtypes, names and index."""
    if container == "pandas":
        pd.testing.assert_frame_equal(got, wanted)
    elif container == "pyarrow":
        assert got.schema == wanted.schema and got.to_pylist() == wanted.to_pylist()
    else:
        assert got.schema == wanted.schema and got.to_dict(as_series=False) == wanted.to_dict(as_series=False)


@every_dtype
def test_restore_inverts_read(container, x, kind, values):
    X = frame(container, x)
    form, got = fit_read(X)
    assert (form.container, form.columns[0].kind, form.columns[0].name) == (container, kind, "x")
    np.testing.assert_array_equal(got[:, 0], values)
    form = pickle.loads(pickle.dumps(form))
    assert_same(container, form.restore(got), X)


@every_dtype
def test_a_missing_cell_is_filled_with_the_cell_of_another_row(container, x, kind, values):
    """The wanted column is made by the library itself, from the cells."""
    X = frame(container, x)
    form, got = fit_read(X)
    cells = cells_of(container, x)
    cells = [cells[0] if np.isnan(value) else cell for cell, value in zip(cells, values, strict=True)]
    if container == "pyarrow":
        wanted = dictionary(cells, x.type.ordered) if hasattr(x.type, "ordered") else pa.array(cells, x.type)
    else:
        wanted = type(x)(cells, dtype=x.dtype)
    assert_same(container, form.restore_like(np.full_like(got, got[0, 0]), X), frame(container, wanted))


@every_dtype
def test_the_order_of_rows_changes_no_code(container, x, kind, values):
    form = TableFormat.of(frame(container, x))
    assert TableFormat.of(frame(container, x[::-1])).columns == form.columns


@every_dtype
def test_frames_and_arrays_are_read_alike(container, x, kind, values):
    """A format of a frame reads an array of the cells, and the other way round."""
    X = frame(container, x)
    array = objects([[cell] for cell in cells_of(container, x)])
    form = TableFormat.of(X)
    np.testing.assert_array_equal(read(form, array)[:, 0], values)
    if all(isinstance(label, str | bytes) for label in form.columns[0].categories or ()):
        of_array, codes = fit_read(array)
        np.testing.assert_array_equal(read(of_array, X), codes)


@pytest.mark.parametrize("fitted", ["list", *COLUMNS])
@pytest.mark.parametrize("given", COLUMNS)
def test_a_frame_is_filled_in_its_own_dtypes_whatever_the_training_rows_were(fitted, given):
    cells = {"n": [1.5, 3.0, None], "i": [1, None, 3], "b": [True, None, False], "c": ["u", "v", None]}
    make = {"polars": pl.DataFrame, "pyarrow": pa.table, "list": lambda cells: list(zip(*cells.values(), strict=True))}
    make["pandas"] = lambda cells: pd.DataFrame(cells).astype({"i": "Int64", "b": "boolean"})
    X = make[given](cells)
    form = TableFormat.of(make[fitted](cells))
    filled = form.restore_like(np.array([[0.5, 0, 1, 0], [0.5, 2, 0, 0], [2.5, 0, 1, 1]]), X)
    wanted = {"n": [1.5, 3.0, 2.5], "i": [1, 2, 3], "b": [True, False, False], "c": ["u", "v", "v"]}
    assert_same(given, filled, make[given](wanted))


# --- missing cells ---------------------------------------------------------------------------------------------------

MISSING_NUMBERS = {
    "array": np.array([[1.0], [NAN]]),
    "float32 array": np.array([[1.0], [NAN]], np.float32),
    "masked integers": np.ma.array([[1], [7]], mask=[[0], [1]]),
    "masked floats": np.ma.array([[1.0], [7.0]], mask=[[0], [1]]),
    "masked objects": np.ma.array([[1], ["x"]], mask=[[0], [1]], dtype=object),
    "list": [[1], [None]],
    "None": objects([[1], [None]]),
    "NaN": objects([[1], [float("nan")]]),
    "numpy.nan": objects([[1], [np.float32(NAN)]]),
    "pandas.NA": objects([[1], [pd.NA]]),
    "NaT": objects([[1], [pd.NaT]]),
    "Decimal": objects([[1], [Decimal("nan")]]),
    "pandas": pd.DataFrame({"x": [1.0, NAN]}),
    "nullable": pd.DataFrame({"x": pd.array([1, None], dtype="Int64")}),
    "arrow in pandas": pd.DataFrame({"x": pd.array([1, None], dtype="int64[pyarrow]")}),
    "polars null": pl.DataFrame({"x": [1.0, None]}),
    "polars NaN": pl.DataFrame({"x": [1.0, NAN]}),
    "pyarrow null": pa.table({"x": [1, None]}),
    "pyarrow NaN": pa.table({"x": [1.0, NAN]}),
}


@pytest.mark.parametrize("X", MISSING_NUMBERS.values(), ids=MISSING_NUMBERS)
def test_all_ways_to_miss_a_number_are_read_as_nan(X):
    form, values = fit_read(X)
    np.testing.assert_array_equal(values, [[1], [NAN]])
    assert form.columns[0].kind == "number"
    filled = form.restore_like(np.array([[5.0], [1.0]]), X)
    np.testing.assert_array_equal(read(form, filled), [[1], [1]])
    still_missing = form.restore_like(np.full((2, 1), NAN), X)
    np.testing.assert_array_equal(read(form, still_missing), values)


@pytest.mark.parametrize("missing", [None, NAN, float("nan"), pd.NA, pd.NaT, np.datetime64("NaT")])
def test_all_ways_to_miss_a_label_are_read_as_nan(missing):
    X = objects([["b"], [missing], ["a"], [missing]])
    np.testing.assert_array_equal(fit_read(X)[1][:, 0], [1, NAN, 0, NAN])
    assert TableFormat.of(X).columns[0].categories == ("a", "b")


@pytest.mark.parametrize("container", COLUMNS)
def test_a_column_without_a_cell_gets_the_training_dtype(container):
    """pandas has it as floats or objects, polars and pyarrow as a type of their own, whatever it held in training."""
    names = ["number", "flag", "label"]
    kinds = {"pandas": ["float64", "boolean", "category"], "polars": [pl.Float32, pl.Boolean, pl.Categorical]}
    kinds["pyarrow"] = [pa.float32(), pa.bool_(), pa.large_string()]
    data = [[1.0, 2.5], [True, False], ["u", "v"]]
    if container == "pandas":
        X = pd.DataFrame(dict(zip(names, data, strict=True))).astype(dict(zip(names, kinds[container], strict=True)))
        empty = pd.DataFrame(dict.fromkeys(names, [None, None]))
    elif container == "polars":
        X = pl.DataFrame(data, schema=dict(zip(names, kinds[container], strict=True)))
        empty = pl.DataFrame(dict.fromkeys(names, [None, None]))
    else:
        X = pa.table([pa.array(*pair) for pair in zip(data, kinds[container], strict=True)], names=names)
        empty = pa.table(dict.fromkeys(names, [None, None]))
    form, values = fit_read(X)
    assert np.isnan(read(form, empty)).all()
    assert_same(container, form.restore_like(values, empty), X)


def test_a_numpy_column_that_gets_missing_cells_becomes_one_that_can_hold_them():
    X = pd.DataFrame({"i": [1, 2], "b": [True, False], "s": ["u", "v"]})
    restored = TableFormat.of(X).restore(np.array([[1, NAN, 1], [NAN, 1, NAN]]))
    wanted = pd.DataFrame({"i": [1, NAN], "b": pd.array([None, True], dtype="boolean"), "s": ["v", NAN]})
    pd.testing.assert_frame_equal(restored, wanted)


# --- arrays ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_float_arrays_are_read_without_a_copy(dtype):
    X = np.array([[1.5, -2.0], [NAN, 3.0]], dtype)
    form, values = fit_read(X)
    assert np.shares_memory(values, X) and values.dtype == dtype
    restored = form.restore(values)
    assert restored.dtype == dtype
    np.testing.assert_array_equal(restored, X)


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.bool_])
def test_integers_and_booleans_come_back_as_floats(dtype):
    X = np.array([[1, 0], [0, 1]], dtype)
    form, values = fit_read(X)
    restored = form.restore(values)
    assert values.dtype == restored.dtype == np.float64
    np.testing.assert_array_equal(restored, X)
    assert {column.kind for column in form.columns} == {"boolean" if dtype == np.bool_ else "number"}
    np.testing.assert_array_equal(form.restore_like(values, X), X, strict=True)


def test_a_frame_of_float32_is_read_as_float32():
    x = pd.Series([1, 2], dtype="float32")
    assert fit_read(pd.DataFrame({"a": x, "b": x}))[1].dtype == np.float32
    assert fit_read(pd.DataFrame({"a": x, "b": x.astype("float64")}))[1].dtype == np.float64


@pytest.mark.parametrize("X", [[["u", 1, True], ["v", None, None]], (("u", 1, True), ("v", NAN, NAN))])
def test_lists_of_numbers_and_text_keep_both(X):
    form, values = fit_read(X)
    assert [column.kind for column in form.columns] == ["category", "number", "boolean"]
    np.testing.assert_array_equal(values, [[0, 1, 1], [1, NAN, NAN]])
    restored = form.restore(values)
    assert restored.dtype == object and restored[0].tolist() == ["u", 1, True]
    assert [type(cell) for cell in restored[0]] == [str, int, bool]
    assert restored[1, 0] == "v" and all(cell is NAN for cell in restored[1, 1:])


@pytest.mark.parametrize("X", [np.array([["u", "v"], ["w", "v"]]), np.array([[b"u"], [b"v"]])])
def test_arrays_of_text_hold_categories(X):
    form, values = fit_read(X)
    assert {column.kind for column in form.columns} == {"category"}
    np.testing.assert_array_equal(form.restore(values), X.astype(object))


def test_filled_arrays_keep_their_observed_objects():
    number, text = 10**30, "".join(["tex", "t"])
    X = objects([[number, text, None], [None, None, 2.0], [7, "u", 1.5]])
    filled = TableFormat.of(X).restore_like(np.full((3, 3), 1.0), X)
    assert filled[0, 0] is number and filled[0, 1] is text
    assert filled.tolist() == [[number, text, 1.0], [7, "u", 2.0], [7, "u", 1.5]]
    assert X[1, 0] is None  # X is left alone


def test_text_in_an_array_of_floats_makes_it_objects():
    """A column of text is NaN in every row of X, and gets labels."""
    form = TableFormat.of([[1.5, "u"], [2.5, "v"]])
    filled = form.restore_like(np.array([[2.0, 1.0]]), np.array([[NAN, NAN]]))
    assert filled.tolist() == [[2.0, "v"]]
    of_numbers = TableFormat.of(pd.DataFrame({"x": pd.Categorical([3, 5])}))
    np.testing.assert_array_equal(of_numbers.restore_like(np.array([[1.0]]), np.array([[NAN]])), [[5.0]], strict=True)


def test_what_is_no_table_is_refused():
    for X in [[1, 2], np.ones(3), pd.Series([1.0, 2.0]), np.ones((2, 2, 2)), np.empty((0, 3)), np.empty((3, 0))]:
        with pytest.raises(ValueError):
            TableFormat.of(X)
    with pytest.raises(ValueError, match=r"0 sample\(s\).*required by VAE"):
        TableFormat.of(pd.DataFrame({"a": []}), owner="VAE")
    with pytest.raises(TypeError, match="[Ss]parse"):
        TableFormat.of(sparse.csr_array(np.eye(2)))
    with pytest.raises(TypeError, match=r"X.collect\(\)"):
        TableFormat.of(pl.LazyFrame({"a": [1]}))


# --- values that a column can hold -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("training", "value", "restored"),
    [
        ([1, 4], 2.4, 2),
        ([1, 4], 9.0, 4),
        ([1, 4], -9.0, 1),
        ([1.0, 4.0], 2.6, 3),
        ([0.5, 4], 2.6, 2.6),
        ([0.5, 4], 9.0, 9.0),
        ([0.5, 4], -0.1, 0),
        ([-0.5, 0], 0.1, 0),
        ([-0.5, 0], -9.0, -9.0),
        ([-0.5, 4], -9.0, -9.0),
        ([-1.0, 1.0], -0.2, 0),
        (["a", "b"], -0.7, "a"),
        (["a", "b"], 7.0, "b"),
        ([False, True], 0.6, True),
    ],
)
def test_drawn_values_are_rounded_and_clipped(training, value, restored):
    form = TableFormat.of(pd.DataFrame({"x": training}))
    cell = form.restore(np.array([[value]]))["x"][0]
    assert cell == restored and not (cell == 0 and np.signbit(cell))


def test_an_integer_column_has_its_limits_and_others_only_their_sign():
    columns = TableFormat.of(np.array([[1.0, 0.5, NAN], [3.0, NAN, NAN]])).columns
    assert [(c.is_integer, c.low, c.high) for c in columns] == [(True, 1, 3), (False, 0.5, 0.5), (True, None, None)]
    assert TableFormat.of(np.array([[NAN]])).restore(np.array([[-1.5]])) == -1.5


def test_integers_beyond_the_precision_of_floats_are_kept_when_other_cells_are_filled():
    big = 2**62 + 1
    for X in [
        pd.DataFrame({"x": pd.array([big, None, 3], dtype="Int64")}, index=[5, 5, 2]),
        pd.DataFrame({"x": pd.array([big, None, 3], dtype="int64[pyarrow]")}, index=[5, 5, 2]),
        pl.DataFrame({"x": [big, None, 3]}),
        pa.table({"x": [big, None, 3]}),
    ]:
        filled = TableFormat.of(X).restore_like(np.full((3, 1), 3.0), X)
        assert (filled["x"].to_pylist() if isinstance(X, pa.Table) else filled["x"].to_list()) == [big, 3, 3]


def test_a_filled_frame_keeps_index_names_and_dtypes():
    index = pd.MultiIndex.from_tuples([("r", 1), ("r", 1), ("s", 2)])
    cells = {"a": [1, 2, 3], "b": [0.5, NAN, 1.5], "c": pd.Categorical(["u", None, "v"], ["w", "u", "v"])}
    X = pd.DataFrame(cells).set_axis(index).rename_axis(columns="names")
    before = X.copy()
    filled = TableFormat.of(X).restore_like(np.full((3, 3), 1.0), X)
    wanted = X.copy()
    wanted.iloc[1, 1], wanted.iloc[1, 2] = 1.0, "v"
    pd.testing.assert_frame_equal(filled, wanted)
    pd.testing.assert_frame_equal(X, before)


@pytest.mark.parametrize("dtype", ["int64", "uint64", "int64[pyarrow]"])
def test_the_largest_integers_stay_large(dtype):
    """Their floats are out of the dtype's range; the cast of such a float has any value."""
    largest = 2**64 - 1 if dtype == "uint64" else 2**63 - 1
    X = pd.DataFrame({"x": pd.Series([largest, 0], dtype=dtype)})
    form, values = fit_read(X)
    restored = form.restore(values)["x"]
    assert restored.dtype == dtype and restored[1] == 0
    assert restored[0] == pytest.approx(largest, rel=1e-15)


@pytest.mark.parametrize("names", [[0, 1], [("a", 1), ("b", 2)], ["a", "b"]])
def test_names_of_columns_are_restored(names):
    X = pd.DataFrame(
        [[0.5, 1.5]], columns=names if isinstance(names[0], int | str) else pd.MultiIndex.from_tuples(names)
    )
    form, values = fit_read(X)
    pd.testing.assert_frame_equal(form.restore(values), X, check_column_type="equiv")


@pytest.mark.parametrize(
    "X, missing",
    [
        *(
            (pd.DataFrame({"x": [3, 1]}, dtype=dtype), pd.DataFrame({"x": [NAN]}))
            for dtype in ("int64", "uint8", "Int64", "UInt16", "int32[pyarrow]", "Sparse[int]")
        ),
        *((pl.DataFrame({"x": [3, 1]}, {"x": t}), pl.DataFrame({"x": [None]}, {"x": t})) for t in (pl.Int64, pl.UInt8)),
        *(
            (pa.table({"x": pa.array([3, 1], t)}), pa.table({"x": pa.array([None], t)}))
            for t in (pa.int64(), pa.int8())
        ),
    ],
)
def test_means_fill_a_column_of_integers_that_misses_all_cells_rounded(X, missing):
    """As they do if another row has a cell: 2.7 is neither truncated nor refused."""
    filled = TableFormat.of(X).restore_like(np.full((1, 1), 2.7), missing, is_drawn=False)
    assert np.asarray(filled["x"]).tolist() == [3]
    dtypes = [table.schema if hasattr(table, "schema") else table.dtypes.tolist() for table in (filled, X)]
    assert dtypes[0] == dtypes[1]


def test_a_non_integer_fills_an_integer_column_rounded():
    form = TableFormat.of(pd.DataFrame({"x": [0.5, 8.0]}))
    X = pd.DataFrame({"x": pd.array([1, None], dtype="Int64")})
    assert form.restore_like(np.full((2, 1), 2.7), X)["x"].tolist() == [1, 3]


@pytest.mark.parametrize(
    "make",
    [
        lambda cells: pd.DataFrame({"x": pd.Categorical(cells, ["v"])}),
        lambda cells: pl.DataFrame({"x": pl.Series(cells, dtype=pl.Enum(["v"]))}),
        lambda cells: pa.table({"x": dictionary(cells, categories=("v",))}),
    ],
)
def test_categories_are_added_to_a_column_that_lacks_them(make):
    """Rows to fill may declare fewer categories than the training rows."""
    filled = TableFormat.of([["u"], ["v"]]).restore_like(np.zeros((2, 1)), make(["v", None]))
    x = filled["x"]
    assert (x.to_pylist() if isinstance(filled, pa.Table) else x.to_list()) == ["v", "u"]
    assert list(_frames.columns_of(filled)[0].labels) == ["v", "u"]


# --- categories ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", list(itertools.permutations([2, 1.5, "b", "a", True])))
def test_labels_of_several_types_are_sorted(order):
    form = TableFormat.of(objects([[label] for label in order]))
    assert form.columns[0].categories == (True, 1.5, 2, "a", "b")


def test_unused_categories_have_no_code_and_stay_in_the_dtype():
    X = pd.DataFrame({"x": pd.Categorical(["c", "a"], ["d", "c", "b", "a"])})
    form, values = fit_read(X)
    assert form.columns[0].categories == ("c", "a") and values[:, 0].tolist() == [0, 1]
    assert form.restore(values)["x"].dtype == X["x"].dtype


def test_only_pandas_and_pyarrow_say_that_categories_are_ordered():
    def flags(container):
        return [name for name, (x, *_) in COLUMNS[container].items() if _is_ordered(container, x)]

    def _is_ordered(container, x):
        return TableFormat.of(frame(container, x)).columns[0].ordered

    assert flags("pandas") == ["ordered", "interval category"]
    assert flags("polars") == []
    assert flags("pyarrow") == ["ordered dictionary"]


@pytest.mark.parametrize("container", COLUMNS)
def test_unknown_categories(container):
    make = {"pandas": pd.DataFrame, "polars": pl.DataFrame, "pyarrow": pa.table}[container]
    form = TableFormat.of(make({"n": [1, 2], "color": ["red", "blue"]}))
    X = make({"n": [1, 2, 3], "color": ["red", None, "violet"]})
    with pytest.raises(ValueError, match=r"'violet' in column 'color', row 2.*VAE.*'blue', 'red' .*handle_unknown='ig"):
        read(form, X)
    np.testing.assert_array_equal(read(form, X, "ignore"), [[1, 1], [2, NAN], [3, -1]])
    filled = form.restore_like(np.zeros((3, 2)), X)  # an unknown category is observed all the same
    colors = filled["color"]
    assert (colors.to_pylist() if container == "pyarrow" else colors.to_list()) == ["red", "blue", "violet"]


def test_the_message_shows_some_of_many_categories():
    form = TableFormat.of(objects([[f"c{i:02}"] for i in range(30)]))
    with pytest.raises(ValueError, match=r"'c00', 'c01', .*'c09', \.\.\. in this column") as error:
        read(form, [["x"]])
    assert "c10" not in str(error.value) and "column 0, row 0" in str(error.value)


def test_objects_without_a_hash_are_categories_by_their_text():
    X = np.random.default_rng(0).random((4, 2)).astype(object)
    X[0, 0] = {"foo": "bar"}
    form, values = fit_read(X)
    assert [column.kind for column in form.columns] == ["category", "number"]
    assert sorted(values[:, 0]) == [0, 1, 2, 3]
    assert form.restore(values)[0, 0] == "{'foo': 'bar'}"
    np.testing.assert_array_equal(read(form, X[:1]), values[:1])


def test_numbers_of_python_are_numbers():
    cells = [[1], [0.5], [Decimal("0.25")], [Fraction(1, 8)], [np.float32(2)], [np.int8(3)], [True], [None]]
    form, values = fit_read(objects(cells))
    assert form.columns[0].kind == "number"
    np.testing.assert_array_equal(values[:, 0], [1, 0.5, 0.25, 0.125, 2, 3, 1, NAN])


# --- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("training", "given", "message"),
    [
        ([1, 2], ["1", "two"], "'1' in column 'x', row 0, but VAE was fitted to numbers"),
        ([1, 2], [3, "two"], "'two' in column 'x', row 1, but VAE was fitted to numbers"),
        ([1, 2], [3, {}], "'{}' in column 'x', row 1"),
        ([True, False], [True, 0.5], "0.5 in column 'x', row 1, but VAE was fitted to booleans"),
        ([True, False], ["yes", True], "'yes' in column 'x', row 0, but VAE was fitted to booleans"),
        (["a", "b"], [NAN, 1.5], "unknown category 1.5 in column 'x', row 1"),
    ],
)
def test_cells_of_another_kind_are_named(training, given, message):
    form = TableFormat.of(pd.DataFrame({"x": training}))
    for X in [pd.DataFrame({"x": pd.Series(given, dtype=object)}), objects([[cell] for cell in given])]:
        with pytest.raises(ValueError, match=message):
            read(form, X)


@pytest.mark.parametrize("value", [np.inf, -np.inf])
@pytest.mark.parametrize("convert", [np.float32, np.float64, object, pd.DataFrame, pl.DataFrame, list])
def test_infinite_cells_are_named(value, convert):
    X = np.array([[1.0, 2.0], [NAN, value]])
    X = X.astype(convert) if convert in (np.float32, np.float64, object) else convert(X)
    form = TableFormat.of(X)
    with pytest.raises(ValueError, match=r"Input X contains infinity or a value too large for dtype\('float.*row 1"):
        read(form, X)


@pytest.mark.parametrize("X", [np.ones((2, 2)) * 1j, objects([[1j, 2]]), [[1j, 2]], pd.DataFrame({"x": [1j]})])
def test_complex_data_are_refused(X):
    with pytest.raises(ValueError, match="Complex data not supported"):
        TableFormat.of(X)


DAY = datetime.date(2020, 1, 1)
DATES = {
    "array": np.array([["2020"]], "datetime64[D]"),
    "objects": objects([[DAY], [None]]),
    "durations": objects([[datetime.timedelta(1)], [None]]),
    "pandas": pd.DataFrame({"0": pd.to_datetime(["2020"])}),
    "pandas with time zone": pd.DataFrame({"0": pd.to_datetime(["2020"]).tz_localize("UTC")}),
    "pandas durations": pd.DataFrame({"0": pd.to_timedelta([1])}),
    "pandas objects": pd.DataFrame({"0": [DAY]}),
    "arrow in pandas": pd.DataFrame({"0": pd.Series([DAY], dtype="date32[pyarrow]")}),
    "polars": pl.DataFrame({"0": [DAY]}),
    "polars times": pl.DataFrame({"0": [datetime.time(1)]}),
    "pyarrow": pa.table({"0": [DAY]}),
}


@pytest.mark.parametrize("X", DATES.values(), ids=DATES)
def test_dates_are_refused(X):
    with pytest.raises(TypeError, match=r"dates or times \(.*\) in column '?0'?.*Convert them to numbers"):
        TableFormat.of(X)


def test_nested_columns_are_refused():
    for X in [pl.DataFrame({"x": [[1]]}), pa.table({"x": [{"a": 1}]})]:
        with pytest.raises(TypeError, match="nested values .* in column 'x'"):
            TableFormat.of(X)


def test_names_must_be_unique():
    for X in [pd.DataFrame([[1, 2]], columns=["a", "a"]), pa.Table.from_arrays([pa.array([1])] * 2, names=["a", "a"])]:
        with pytest.raises(ValueError, match="several columns of the name 'a'"):
            TableFormat.of(X)


def test_the_number_of_columns_must_match():
    with pytest.raises(ValueError, match="X has 3 features, but VAE is expecting 2 features as input"):
        read(TableFormat.of(np.ones((1, 2))), np.ones((1, 3)))
    with pytest.raises(ValueError, match="X has 3 features"):
        TableFormat.of(np.ones((1, 2))).restore_like(np.ones((1, 2)), np.ones((1, 3)))


# --- without narwhals ------------------------------------------------------------------------------------------------


@pytest.fixture
def without_narwhals(monkeypatch):
    def import_module(name):
        if name.startswith("narwhals"):
            raise ImportError(name)
        return original(name)

    original = _frames.import_module
    monkeypatch.setattr(_frames, "import_module", import_module)


def test_frames_of_numpy_numbers_need_no_narwhals(without_narwhals):
    X = pd.DataFrame({"f": [0.5, NAN], "i": [1, 2], "b": [True, False], "s": pd.Series([1, 2], dtype="float32")})
    form, values = fit_read(X)
    np.testing.assert_array_equal(values, X.to_numpy(float))
    pd.testing.assert_frame_equal(form.restore(values), X)
    pd.testing.assert_frame_equal(form.restore_like(np.full((2, 4), 0.5), X), X.fillna({"f": 0.5}))


@pytest.mark.parametrize("X", [pd.DataFrame({"x": ["u"]}), pl.DataFrame({"x": [1.0]}), pa.table({"x": [1.0]})])
def test_other_frames_need_narwhals(without_narwhals, X):
    with pytest.raises(ImportError, match="column 'x' of X needs narwhals: pip install narwhals"):
        TableFormat.of(X)
