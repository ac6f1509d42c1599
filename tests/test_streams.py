"""Tables that are read in blocks: files larger than memory give the models and predictions of rows in memory."""

import os
import pickle

import numpy as np
import pytest

from skdgm import DLGM, VAE, ADGMClassifier, M1Classifier, M1M2Classifier, M2Classifier, TransductiveSVC
from skdgm.estimators import _streams
from skdgm.estimators._streams import Extremes, Stream, blocks, in_blocks, look, row_of, rows_of
from skdgm.readers import ArrayReader, ParquetReader, Rows, as_reader

N_ROWS, N_COLUMNS = 600, 12
CLASSIFIERS = ["M1", "M2", "ADGM", "M1M2"]
SHORT = {"max_iter": 2, "random_state": 0}
FEW_DRAWS = {**SHORT, "n_importance_samples": 3}
MAKERS = {
    "VAE": lambda **params: VAE(**FEW_DRAWS, **params),
    "DLGM": lambda **params: DLGM((3, 2), **FEW_DRAWS, **params),
    "M1": lambda **params: M1Classifier(encoder=VAE(**SHORT, **params), random_state=0),
    "M2": lambda **params: M2Classifier(**FEW_DRAWS, **params),
    "ADGM": lambda **params: ADGMClassifier(**FEW_DRAWS, **params),
    "M1M2": lambda **params: M1M2Classifier(encoder=VAE(**SHORT, **params), **FEW_DRAWS),
}


def table(seed=0, dtype=np.float32):
    """Rows of three classes."""
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((N_ROWS, N_COLUMNS)) + 2 * (classes()[:, None] == np.arange(N_COLUMNS) % 3)).astype(
        dtype
    )


def classes():
    """The class of each row."""
    return np.arange(N_ROWS) % 3


def few_labels():
    """A tenth of the labels."""
    return np.where(np.arange(N_ROWS) < N_ROWS // 10, classes(), -1)


@pytest.fixture
def on_disk(tmp_path):
    """Write an array, and return a memmap of it."""

    def write(array):
        np.save(tmp_path / "X.npy", array)
        return np.load(tmp_path / "X.npy", mmap_mode="r")

    return write


@pytest.fixture(autouse=True)
def small_memory(monkeypatch):
    """No table of these tests fits in memory, and each has many blocks."""
    monkeypatch.setattr(_streams, "RESIDENT_BYTES", 4 * N_COLUMNS * N_ROWS // 2)
    monkeypatch.setattr(_streams, "BLOCK_BYTES", 4 * N_COLUMNS * 50)


@pytest.fixture
def small_look(monkeypatch):
    """Columns are described from 100 rows."""
    monkeypatch.setattr(_streams, "MAX_ROWS", 100)


def outputs(model, X):
    """What a model says of rows, by method."""
    names = ["transform", "score_samples", "elbo_samples", "predict", "predict_proba"]
    return {name: getattr(model, name)(X) for name in names if hasattr(model, name)}


# --- prediction -------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", MAKERS)
def test_a_stream_gives_the_bits_of_the_array(name, on_disk):
    """Of a model that was fitted to an array; with missing cells, which the networks have not learned, too."""
    model, holes = MAKERS[name](), table(1)
    model.fit(table(), few_labels())
    holes[::7, 3] = np.nan
    for X in (table(1), holes):
        expected = outputs(model, X)
        found = outputs(model, on_disk(X))
        for method, values in expected.items():
            np.testing.assert_array_equal(found[method], values, err_msg=method)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", MAKERS)
def test_a_fit_to_a_stream_is_as_good(name, on_disk, small_look):
    """The bound ends where that of a fit to the array does, and classes are found."""
    X, y = on_disk(table()), few_labels()
    model, reference = MAKERS[name]().fit(X, y), MAKERS[name]().fit(table(), y)
    for ours, theirs in [
        (model, reference),
        (getattr(model, "encoder_", model), getattr(reference, "encoder_", model)),
    ]:
        if hasattr(ours, "history_") and ours is not theirs:
            assert ours.history_["bound"][-1] == pytest.approx(theirs.history_["bound"][-1], rel=0.1)
    if name in CLASSIFIERS:
        assert model.score(X, classes()) > 0.9
    assert pickle.loads(pickle.dumps(model)).transform(table()).shape == model.transform(X).shape


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_the_same_seed_gives_the_same_fit(on_disk):
    """To the bit, though a thread reads ahead."""
    X = on_disk(table())
    first, second = (MAKERS["M2"]().fit(X, few_labels()).predict_proba(X) for _ in range(2))
    np.testing.assert_array_equal(first, second)


# --- what is learned from a pass --------------------------------------------------------------------------------------


def test_extremes_are_those_of_all_rows():
    """Against NumPy, block by block, with missing cells and a column of whole numbers."""
    rng = np.random.default_rng(2)
    X = rng.standard_normal((1000, 5))
    X[:, 0] = rng.integers(0, 9, 1000)
    X[17, 1] = X[990, 2] = np.nan
    X[:, 3] = np.nan
    X[:, 4] = 2.0
    X[999, 4] = 2.5
    found = Extremes(5, np.float64)
    for block in np.split(X, 10):
        found.add(block)
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(found.low, np.fmin.reduce(X))
        np.testing.assert_array_equal(found.high, np.fmax.reduce(X))
    np.testing.assert_array_equal(found.misses_cells, np.isnan(X).any(0))
    assert np.isnan(found.fraction[[0, 3]]).all() and found.fraction[4] == 2.5
    assert (found.fraction[[1, 2]] % 1 != 0).all()


def test_one_rare_cell_decides_the_likelihood(on_disk, small_look):
    """A column of 0 and 1 with a single other value among all rows is not Bernoulli; a single NaN is seen."""
    X = (table() > 1).astype(np.float32)
    kinds = [choice.likelihood for choice in VAE(**SHORT).fit(on_disk(X)).likelihoods_]
    assert set(kinds) == {"bernoulli"}
    X[301, 4], X[302, 5], X[303, 6] = 0.5, -3, np.nan
    model = VAE(**SHORT).fit(on_disk(X))
    kinds = [choice.likelihood for choice in model.likelihoods_]
    assert [j for j, kind in enumerate(kinds) if kind != "bernoulli"] == [4, 5]
    assert np.flatnonzero(model._misses_cells).tolist() == [6]


def test_a_cell_out_of_range_is_named(on_disk, small_look):
    """By its row in the file, in fit and in score_samples."""
    X = (table() > 1).astype(np.float32)
    X[437, 4] = 1.5
    with pytest.raises(ValueError, match=r"got values in \[0, 1.5\].* in column 4, row 437"):
        VAE(likelihood="bernoulli", **SHORT).fit(on_disk(X))
    model = VAE(likelihood="bernoulli", **SHORT).fit((table() > 1).astype(np.float32))
    with pytest.raises(ValueError, match="column 4, row 437"):
        model.score_samples(on_disk(X))


@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_an_infinite_cell_is_named(value, on_disk):
    """With its column and row, in fit and in prediction; beside missing cells."""
    X = table()
    model = VAE(**SHORT).fit(X)
    X[437, 4], X[430, 2] = value, np.nan
    for method in (VAE(**SHORT).fit, model.transform, model.score_samples):
        with pytest.raises(ValueError, match="infinity.*column 4, row 437"):
            method(on_disk(X))


def test_large_finite_cells_are_no_infinity():
    """Though their sum is."""
    X = np.full((10, 3), 3e38, np.float32)
    np.testing.assert_array_equal(np.asarray(rows_of(ArrayReader(X))), X)


def test_an_empty_column_is_an_error(on_disk, small_look):
    """It is found by the pass over all rows."""
    X = table()
    X[:, 7] = np.nan
    with pytest.raises(ValueError, match="missing in every row: 7"):
        VAE(**SHORT).fit(on_disk(X))


def test_the_sample_holds_rows_of_the_table(small_look):
    """In order, and then the four rows of extremes; ``row_of`` finds the row of each cell."""
    X = table()
    stream = Stream(Rows(ArrayReader(X)))
    assert stream.looked.shape == (104, N_COLUMNS)
    np.testing.assert_array_equal(stream.looked[:100], X[stream.sampled])
    for position in (0, 55, 99, 100, 101, 103):
        assert X[row_of(stream)(position, 5), 5] == stream.looked[position, 5]
    np.testing.assert_array_equal(look(X), X)


@pytest.mark.parametrize("n_rows", [0, 1, 49, 50, 51, 600])
def test_blocks_are_all_rows_in_order(n_rows):
    """Also for no rows."""
    X = table()[:n_rows]
    parts = list(blocks(Rows(ArrayReader(X))))
    np.testing.assert_array_equal(np.concatenate([part for _, part in parts]), X)
    assert [start for start, _ in parts] == np.cumsum([0, *(len(part) for _, part in parts)])[:-1].tolist()
    np.testing.assert_array_equal(in_blocks(lambda rows: rows + 1, Rows(ArrayReader(X))), X + 1)


# --- errors -----------------------------------------------------------------------------------------------------------


def test_a_file_that_shrinks_during_a_fit_leaves_the_estimator_unchanged(on_disk):
    """The error names the file; the model of the fit before still predicts."""
    X = on_disk(table())
    model = VAE(**SHORT).fit(table())
    before = model.transform(table())

    class Shrink:
        """Cut the file when the first epoch ends."""

        def setup(self, estimator, context):
            pass

        teardown = on_fit_task_begin = setup

        def on_fit_task_end(self, estimator, context):
            if context.task_name == "epoch":
                os.truncate(X.filename, 1000)
            return False

    if not hasattr(model, "set_callbacks"):
        pytest.skip("this scikit-learn has no callbacks")
    with pytest.raises(ValueError, match="has become shorter since it was opened"):
        model.set_callbacks(Shrink()).fit(X)
    np.testing.assert_array_equal(model.transform(table()), before)


def test_other_widths_are_errors(on_disk):
    """With scikit-learn's words."""
    model = VAE(**SHORT).fit(on_disk(table()))
    X = np.concatenate([table(), table()], 1)
    with pytest.raises(ValueError, match=f"X has {2 * N_COLUMNS} features, but VAE is expecting {N_COLUMNS}"):
        model.transform(on_disk(X))


def test_impute_refuses_a_stream(on_disk):
    """It says how to go on."""
    model = VAE(**SHORT).fit(table())
    with pytest.raises(ValueError, match=r"impute fills tables in memory.*numpy.asarray\(X\[start:stop\]\)"):
        model.impute(on_disk(table()))


def test_an_inner_estimator_that_reads_unlabeled_rows_needs_them_in_memory(on_disk):
    """The error names passthrough=False, which works."""
    model = M1Classifier(TransductiveSVC(), encoder=VAE(**SHORT), random_state=0)
    X, y = on_disk(table()), few_labels()
    with pytest.raises(ValueError, match="Use passthrough=False"):
        model.fit(X, y)
    assert model.set_params(passthrough=False).fit(X, y).predict(X).shape == (N_ROWS,)


# --- files ------------------------------------------------------------------------------------------------------------


def hdf5(path, X):
    h5py = pytest.importorskip("h5py")
    return h5py.File(path / "X.h5", "w").create_dataset("X", data=X, chunks=(64, N_COLUMNS))


def zarr(path, X):
    return pytest.importorskip("zarr").array(X, chunks=(64, N_COLUMNS))


def parquet(path, X):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    columns = [pa.array(column) for column in X.T]
    pq.write_table(pa.table(columns, [f"x{j}" for j in range(N_COLUMNS)]), path / "X.parquet", row_group_size=64)
    return ParquetReader(path / "X.parquet")


@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
@pytest.mark.parametrize("is_large", [True, False])
@pytest.mark.parametrize("make", [hdf5, zarr, parquet])
def test_files_of_every_kind_are_fitted(make, is_large, tmp_path, monkeypatch):
    """Large ones are read in blocks, small ones become arrays: then the fit is that of the array."""
    if not is_large:
        monkeypatch.setattr(_streams, "RESIDENT_BYTES", 1 << 30)
    X = make(tmp_path, table())
    model = VAE(**SHORT).fit(X)
    np.testing.assert_array_equal(model.transform(X), model.transform(table()))
    classifier = M2Classifier(**SHORT).fit(X, few_labels())
    assert classifier.score(X, classes()) > 0.9
    if not is_large:
        np.testing.assert_array_equal(model.transform(X), VAE(**SHORT).fit(table()).transform(table()))


def test_parquet_files_have_column_names(tmp_path):
    """They are checked in prediction, and may group columns."""
    X = parquet(tmp_path, table())
    model = VAE(likelihood=[("gaussian", ["x1", "x0"]), ("student_t", slice(2, None))], **SHORT).fit(X)
    assert model.feature_names_in_.tolist() == X.schema.names
    assert [choice.likelihood for choice in model.likelihoods_[:3]] == ["gaussian", "gaussian", "student_t"]
    with pytest.raises(ValueError, match="feature names should match"):
        model.transform(ParquetReader(tmp_path / "X.parquet", columns=X.schema.names[::-1]))


# --- samples ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["VAE", "M2"])
def test_samples_are_drawn_in_parts(name, monkeypatch):
    """The first rows do not depend on the parts that follow; all parts differ."""
    monkeypatch.setattr("skdgm.estimators._base.MAX_ROWS_TO_DRAW", 50)
    model = MAKERS[name]().fit(table(), few_labels())

    def draw(n, **params):
        rows = model.sample(n, random_state=3, **params)
        return rows if name == "VAE" else rows[0]

    params = {} if name == "VAE" else {"y": 0}
    many = draw(120, **params)
    assert many.shape == (120, N_COLUMNS) and len(np.unique(many, axis=0)) == 120
    np.testing.assert_array_equal(many[:50], draw(50, **params))


def test_a_memmap_that_fits_is_an_array(on_disk, monkeypatch):
    """It is chosen by size: joblib makes memmaps of large arrays."""
    X = on_disk(table())
    assert as_reader(X) is not None and _streams.is_stream(X)
    monkeypatch.setattr(_streams, "RESIDENT_BYTES", 1 << 30)
    assert not _streams.is_stream(X)
