"""Tests of reading y: which rows are labeled, what their class indices are, and which inputs are refused."""

import warnings

import numpy as np
import pytest
from sklearn.exceptions import DataConversionWarning

from skdgm._labels import encode_labels, is_labeled, labels_of

NAN = float("nan")


def _objects(*values):
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


@pytest.mark.parametrize(
    "y",
    [
        [0, -1, 1],
        (0, -1, 1),
        np.array([0, -1, 1], dtype=np.int8),
        np.array([0.0, -1.0, 1.0]),
        np.array([0.0, NAN, 1.0], dtype=np.float32),
        [0, None, 1],
        [0.0, NAN, 1.0],
        ["a", -1, "b"],
        ["a", None, "b"],
        ["a", NAN, "b"],
        _objects("a", -1, "b"),
        _objects("a", -1.0, "b"),
        _objects("a", NAN, "b"),
        _objects("a", np.float32(NAN), "b"),
        _objects("a", np.datetime64("NaT"), "b"),
        _objects("a", np.timedelta64("NaT"), "b"),
        np.array(["2024-01-01", "NaT", "2025-01-01"], dtype="datetime64[D]"),
        np.array([1, "NaT", 2], dtype="timedelta64[s]"),
        _objects(True, None, False),
    ],
    ids=repr,
)
def test_the_middle_row_is_unlabeled(y):
    labeled = is_labeled(y)
    assert labeled.dtype == bool
    assert labeled.tolist() == [True, False, True]


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([0, None, 1], "Int64"),
        ([0, -1, 1], "Int64"),
        ([0, -1, 1], "int32"),
        ([True, None, False], "boolean"),
        ([0.5, None, 1.5], "Float64"),
        (["a", None, "b"], "string"),
        (["a", None, "b"], "category"),
        ([0, None, 1], "category"),
        (["a", -1, "b"], "category"),
        (["a", -1, "b"], object),
        ([0.0, None, 1.0], float),
        (["2024-01-01", None, "2025-01-01"], "datetime64[ns]"),
        (["2024-01-01", None, "2025-01-01"], "datetime64[ns, UTC]"),
        (["1s", None, "2s"], "timedelta64[ns]"),
    ],
)
def test_pandas_series_of_any_type_are_read(values, dtype):
    pd = pytest.importorskip("pandas")
    y = pd.Series(values, dtype=dtype, index=[7, 8, 9])
    assert is_labeled(y).tolist() == [True, False, True]


def test_missing_values_of_pandas_are_unlabeled():
    pd = pytest.importorskip("pandas")
    for missing in (pd.NA, pd.NaT):
        assert is_labeled(_objects("a", missing, "b")).tolist() == [True, False, True]


def test_dates_are_classes_and_nat_is_not_one():
    y = np.array(["2025-01-01", "NaT", "2024-01-01"], dtype="datetime64[D]")
    classes, codes = encode_labels(y, owner="M2Classifier")
    assert classes.tolist() == y[[2, 0]].tolist()
    assert codes.tolist() == [1, -1, 0]


def test_torch_tensors_are_read():
    torch = pytest.importorskip("torch")
    assert is_labeled(torch.tensor([0, -1, 1])).tolist() == [True, False, True]


@pytest.mark.parametrize(
    ("y", "marker", "expected"),
    [
        (["a", "unknown", "b"], "unknown", [True, False, True]),
        (np.array(["a", "unknown"]), "unknown", [True, False]),
        (_objects("a", "?", None), "?", [True, False, False]),
        ([0, 99, 1], 99, [True, False, True]),
        ([0.0, NAN], NAN, [True, False]),
        ([0, 1], NAN, [True, True]),
        ([0, 1], "unknown", [True, True]),
        (np.array(["a", "b"]), -1, [True, True]),
        (np.array([True, False]), -1, [True, True]),
        (np.array([0, 254], dtype=np.uint8), -1, [True, True]),
        (np.array([0, -1], dtype=np.int8), 999, [True, True]),
    ],
)
def test_the_marker_may_be_any_value(y, marker, expected):
    assert is_labeled(y, marker).tolist() == expected


@pytest.mark.parametrize(
    "y", [[0, -1], [0.0, NAN], _objects("a", None), np.array(["a", "-1"]), np.array([0, 255], "u1")]
)
def test_without_a_marker_all_is_labeled(y):
    assert is_labeled(y, None).all()


def test_an_empty_y_is_read():
    assert is_labeled([]).shape == (0,)
    assert is_labeled(_objects()).shape == (0,)


@pytest.mark.parametrize(
    "y", [np.array(["a", "-1"]), ["a", "-1"], _objects("a", "-1"), np.array([b"a", b"-1"]), _objects("a", "-1", -1)]
)
def test_the_marker_as_a_string_is_refused(y):
    with pytest.raises(ValueError, match=r"the string '-1', but unlabeled_value=-1 is not a string.*dtype=object"):
        is_labeled(y)


def test_numpy_making_strings_of_nan_is_noticed():
    with pytest.raises(ValueError, match="holds the string 'nan'"):
        is_labeled(np.array(["a", NAN]), NAN)


@pytest.mark.parametrize("missing", [np.nan, "None", "NaT", "<NA>"])
@pytest.mark.parametrize("marker", [-1, None, "?"])
def test_the_text_of_a_missing_label_in_an_array_of_strings_is_refused(missing, marker):
    y = np.array(["a", "b", missing])
    assert y.dtype.kind == "U"
    with pytest.raises(ValueError, match=f"holds the string '{missing}', which is what NumPy makes of a missing label"):
        encode_labels(y, marker, owner="M2Classifier")
    assert is_labeled(y, str(missing)).tolist() == [True, True, False], "the way out of the message"
    assert is_labeled(y.astype(object)).all(), "the other way out"


def test_string_dtype_of_pandas_holding_the_marker_is_refused():
    pd = pytest.importorskip("pandas")
    with pytest.raises(ValueError, match="holds the string '-1'"):
        is_labeled(pd.Series(["a", "-1"], dtype="string"))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.uint64])
def test_a_marker_wrapped_around_is_refused(dtype):
    y = np.array([0, -1, 1]).astype(dtype)
    with pytest.raises(ValueError, match=rf"dtype {y.dtype}, which cannot hold unlabeled_value=-1.*y.astype\(int\)"):
        is_labeled(y)
    assert is_labeled(y.astype(float)).all()


def test_a_marker_wrapped_around_in_a_signed_type_is_refused():
    with pytest.raises(ValueError, match="cannot hold unlabeled_value=255, and holds -1"):
        is_labeled(np.array([0, 255]).astype(np.int8), 255)


def test_a_marker_cut_short_is_refused():
    y = np.array(["cat", "dog"])
    y[1] = "unknown"
    with pytest.raises(ValueError, match=r"dtype <U3, which cannot hold unlabeled_value='unknown', and holds 'unk'"):
        is_labeled(y, "unknown")
    assert is_labeled(y.astype(object), "unknown").all()


@pytest.mark.parametrize(
    ("y", "classes", "codes"),
    [
        ([3, -1, 1, 3], [1, 3], [1, -1, 0, 1]),
        (["b", -1, "a", "b"], ["a", "b"], [1, -1, 0, 1]),
        (_objects(3, None, 1, 3), [1, 3], [1, -1, 0, 1]),
        ([3.0, NAN, 1.0, 3.0], [1.0, 3.0], [1, -1, 0, 1]),
        (np.array([3, 7, 1, 3], np.uint8), [1, 3, 7], [1, 2, 0, 1]),
        (np.array([True, False]), [False, True], [1, 0]),
        ([5, -1, 5], [5], [0, -1, 0]),
        ([2, 1, 0, -2], [-2, 0, 1, 2], [3, 2, 1, 0]),
    ],
)
def test_codes_are_positions_in_the_sorted_classes(y, classes, codes):
    found_classes, found_codes = encode_labels(y, -1, owner="M2Classifier")
    assert found_classes.tolist() == classes
    assert found_codes.dtype == np.int64
    assert found_codes.tolist() == codes


@pytest.mark.parametrize(
    "y",
    [
        np.array([0, 1, 2, 1]),
        np.array([0, 1, 2, 1], dtype=np.uint8),
        np.array([0.0, 1.0]),
        np.array([True, False]),
        np.array(["a", "b"]),
        _objects("a", "b"),
    ],
    ids=repr,
)
def test_classes_keep_the_type_of_y_and_decode_it(y):
    classes, codes = encode_labels(y, -1, owner="M2Classifier")
    assert classes.dtype == y.dtype
    np.testing.assert_array_equal(classes[codes], y)


@pytest.mark.parametrize(
    ("values", "dtype"),
    [([2, 0, 1], np.int64), ([True, False], np.bool_), ([0, 1.0], np.float64), (["a", "b"], object)],
)
def test_objects_get_the_type_of_their_labels(values, dtype):
    y = _objects(*values, None, -1)
    labeled, labels = labels_of(y)
    assert labeled.tolist() == [True] * len(values) + [False, False]
    assert labels.dtype == dtype
    assert labels.tolist() == values


def test_nullable_integers_decode_to_integers():
    pd = pytest.importorskip("pandas")
    classes, codes = encode_labels(pd.Series([4, None, 2], dtype="Int64"), -1, owner="M2Classifier")
    assert classes.dtype == np.int64
    assert classes.tolist() == [2, 4]
    assert codes.tolist() == [1, -1, 0]


def test_one_label_per_class_is_no_sign_of_a_regression():
    # check_classification_targets would warn about this y, and warnings are errors.
    y = np.concatenate([np.arange(26), np.full(1000, -1)])
    assert len(encode_labels(y, -1, owner="M2Classifier")[0]) == 26


@pytest.mark.parametrize(
    ("y", "marker", "entries"),
    [
        (np.full(500, -1), -1, "all 500 entries are -1."),
        (np.full(3, NAN), -1, "all 3 entries are -1 or missing."),
        (np.full(3, "NaT", dtype="datetime64[D]"), -1, "all 3 entries are -1 or missing."),
        (_objects(None, "?"), "?", "all 2 entries are '\\?' or missing."),
    ],
)
def test_no_labeled_row_is_refused(y, marker, entries):
    wanted = f"y has no labeled row: {entries} M2Classifier needs at least one labeled row per class.*skdgm.VAE"
    with pytest.raises(ValueError, match=wanted):
        encode_labels(y, marker, owner="M2Classifier")


@pytest.mark.parametrize("y", [np.full(3, -1), np.full(3, NAN), _objects(None, None, None)])
def test_no_labeled_row_is_allowed_on_request(y):
    classes, codes = encode_labels(y, -1, owner="M2Classifier", require_labeled=False)
    assert classes.shape == (0,)
    assert codes.tolist() == [-1, -1, -1]


def test_the_empty_string_as_a_class_is_warned_of():
    y = np.array(["cat", "", "dog"])
    with pytest.warns(UserWarning, match='M2Classifier takes the empty string.*pass unlabeled_value=""'):
        classes, _ = encode_labels(y, -1, owner="M2Classifier")
    assert classes.tolist() == ["", "cat", "dog"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        classes, codes = encode_labels(y, "", owner="M2Classifier")
    assert classes.tolist() == ["cat", "dog"]
    assert codes.tolist() == [0, -1, 1]


def test_a_column_is_raveled_with_a_warning():
    with pytest.warns(DataConversionWarning, match="A column-vector y was passed"):
        classes, codes = encode_labels(np.array([[0], [-1], [1]]), -1, owner="M2Classifier")
    assert classes.tolist() == [0, 1]
    assert codes.tolist() == [0, -1, 1]


@pytest.mark.parametrize(
    ("y", "marker", "message"),
    [
        (np.zeros((4, 2)), -1, r"y should be a 1d array, got an array of shape \(4, 2\)"),
        ([[0, -1], [1, 0]], -1, r"y should be a 1d array, got an array of shape \(2, 2\)"),
        ([0.5, 1.25, -1], -1, "Unknown label type: continuous"),
        ([0.5, 1.25, NAN], -1, "Unknown label type: continuous"),
        ([0.0, np.inf, -1], -1, "Input y contains infinity"),
        ([0.0, 1.0, NAN], None, "Input y contains NaN"),
        (_objects("a", None), None, "Input y contains NaN, NaT, None or pandas.NA, and unlabeled_value=None"),
        (_objects("a", np.datetime64("NaT")), None, "Input y contains NaN, NaT, None or pandas.NA"),
        (np.array(["2024-01-01", "NaT"], "datetime64[D]"), None, "Input y contains NaN, NaT, None or pandas.NA"),
        (_objects(0, NAN), None, "Input y contains NaN, NaT, None or pandas.NA, and unlabeled_value=None"),
        (_objects("a", 3, -1), -1, "y mixes labels of the types int, str"),
        (_objects("a", -1), None, "y mixes labels of the types int, str"),
        (_objects(0.5, None, 1.25), -1, "Unknown label type: continuous"),
        (_objects(object(), object()), -1, "Unknown label type: unknown"),
        (_objects((0, 1), (1, 0)), -1, "Unknown label type: unknown"),
        (np.array([b"a", b"b"]), -1, "Unknown label type: bytes"),
        (_objects(b"a", b"b"), -1, "Unknown label type: bytes"),
        (_objects(1.0, np.inf), -1, "Input y contains infinity"),
        (np.array([1j, 2]), -1, "Complex data not supported"),
    ],
)
def test_bad_labels_are_refused(y, marker, message):
    with pytest.raises(ValueError, match=message):
        encode_labels(y, marker, owner="M2Classifier")


def test_reading_changes_nothing():
    y = _objects("a", -1, None)
    encode_labels(y, -1, owner="M2Classifier")
    assert y.tolist() == ["a", -1, None]
