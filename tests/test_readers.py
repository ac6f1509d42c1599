"""Tests of readers: whatever the file, they return the rows of the array that was written, and read each chunk once."""

import os
import pickle
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from skdgm import readers
from skdgm.readers import ArrayReader, HDF5Reader, MemmapReader, ParquetReader, RowReader, Rows, SliceReader, as_reader

N_ROWS, N_COLUMNS = 500, 7


def table(dtype=np.float32):
    return np.random.default_rng(0).uniform(0, 100, (N_ROWS, N_COLUMNS)).astype(dtype)


def some_indices():
    """Ascending indices: none, one, the last, all, and random ones, sparse to dense."""
    rng = np.random.default_rng(1)
    random = [np.flatnonzero(rng.random(N_ROWS) < share) for share in (0.01, 0.1, 0.5, 0.95)]
    return [np.arange(0), np.array([3]), np.array([N_ROWS - 1]), np.arange(N_ROWS), *random]


def memmap(folder, array, offset=0):
    """A read-only memmap of a new file that holds the array from ``offset`` bytes on."""
    path = folder / f"{len(os.listdir(folder))}.bin"
    path.write_bytes(bytes(offset) + array.tobytes())
    return np.memmap(path, array.dtype, "r", offset, array.shape)


def npy(folder, array):
    np.save(folder / "rows.npy", array)
    return np.load(folder / "rows.npy", mmap_mode="r")


def hdf5(folder, array, **kwargs):
    h5py = pytest.importorskip("h5py")
    return h5py.File(folder / "rows.h5", "w").create_dataset("group/rows", data=array, **kwargs)


def zarr_array(folder, array):
    stored = pytest.importorskip("zarr").create_array(
        str(folder / "rows.zarr"), shape=array.shape, chunks=(40, 3), dtype=array.dtype
    )
    stored[:] = array
    return stored


def arrow(array):
    names = [f"x{j}" for j in range(array.shape[1])]
    return pytest.importorskip("pyarrow").table(dict(zip(names, array.T, strict=True)))


def parquet(folder, array, parts=1):
    """A folder of Parquet files, in row groups of 32 rows."""
    pq = pytest.importorskip("pyarrow.parquet")
    (folder / "parquet" / "deeper").mkdir(parents=True)
    for i, part in enumerate(np.array_split(array, parts)):
        pq.write_table(arrow(part), folder / "parquet" / "deeper" / f"{i}.parquet", row_group_size=32)
    return folder / "parquet"


STORED = {
    "array": lambda folder, X: ArrayReader(X),
    "memmap": lambda folder, X: as_reader(memmap(folder, X)),
    "memmap at an offset": lambda folder, X: as_reader(memmap(folder, X, offset=5000)),
    "npy": lambda folder, X: as_reader(npy(folder, X)),
    "view of a memmap": lambda folder, X: as_reader(np.asarray(memmap(folder, X))[:]),
    "rows of a memmap": lambda folder, X: as_reader(memmap(folder, np.vstack([X[:9] + 1, X, X[:4]]))[9:-4]),
    "columns of a memmap": lambda folder, X: as_reader(memmap(folder, np.hstack([X[:, :2], X]), 16)[:, 2:]),
    "every third row of a memmap": lambda folder, X: as_reader(memmap(folder, X.repeat(3, 0))[1::3]),
    "hdf5": lambda folder, X: as_reader(hdf5(folder, X)),
    "hdf5 in chunks": lambda folder, X: as_reader(hdf5(folder, X, chunks=(30, 2), compression="gzip")),
    "zarr": lambda folder, X: as_reader(zarr_array(folder, X)),
    "parquet": lambda folder, X: ParquetReader(parquet(folder, X) / "deeper" / "0.parquet"),
    "parquet files": lambda folder, X: ParquetReader(sorted(parquet(folder, X, 2).rglob("*.parquet"))),
    "parquet folder": lambda folder, X: as_reader(ParquetReader(parquet(folder, X, 3))),
}


@pytest.fixture(params=STORED)
def stored(request, tmp_path, monkeypatch):
    """A reader that takes several spans for these rows."""
    monkeypatch.setattr(readers, "SPAN_BYTES", 20 * 4 * N_COLUMNS)
    return STORED[request.param](tmp_path, table())


# --- every reader ---------------------------------------------------------------------------------------------------


def test_a_reader_returns_the_rows_of_the_array(stored):
    """Shape, type and every cell, at any ascending indices; the result is the caller's to change."""
    assert isinstance(stored, RowReader) and stored.shape == (N_ROWS, N_COLUMNS) and stored.dtype == np.float32
    for indices in some_indices():
        rows = stored.read(indices)
        assert rows.dtype == np.float32
        np.testing.assert_array_equal(rows, table()[indices])
        rows[:] = -1
    np.testing.assert_array_equal(stored.read(np.arange(N_ROWS)), table())


def test_a_pickled_reader_opens_its_file_again(stored):
    """The copy reads the same rows; the pickle of a file's reader does not hold them."""
    pickled = pickle.dumps(stored)
    if isinstance(stored, HDF5Reader):
        stored.array.file.close()
    np.testing.assert_array_equal(pickle.loads(pickled).read(np.arange(N_ROWS)), table())
    assert isinstance(stored, ArrayReader) or len(pickled) < table().nbytes / 2


def test_threads_read_at_the_same_time(stored):
    """Each of many reads in four threads returns its own rows."""
    rng = np.random.default_rng(2)
    wanted = [np.flatnonzero(rng.random(N_ROWS) < 0.3) for _ in range(40)]
    with ThreadPoolExecutor(4) as threads:
        for indices, rows in zip(wanted, threads.map(stored.read, wanted), strict=True):
            np.testing.assert_array_equal(rows, table()[indices])


@pytest.mark.parametrize(
    "name, dtype",
    [
        *((name, dtype) for name in ("memmap", "hdf5", "zarr") for dtype in ("float64", "uint8", "float16", "bool")),
        *((name, ">f4") for name in ("memmap", "hdf5")),
    ],
)
def test_cells_of_any_type_are_read(name, dtype, tmp_path):
    """A reader keeps the type; rows are float64, like arrays of these types in scikit-learn."""
    X = table(dtype)
    reader = STORED[name](tmp_path, X)
    assert reader.dtype == dtype
    np.testing.assert_array_equal(reader.read(np.arange(N_ROWS)), X)
    rows = np.asarray(Rows(reader)[5:90])
    assert rows.dtype == np.float64
    np.testing.assert_array_equal(rows, X[5:90])


# --- memmaps ----------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform != "linux", reason="reads the memory of the process from /proc")
def test_reading_does_not_fill_the_mapping(tmp_path):
    """Pages of the mapping stay out of memory, while a copy of the memmap reads them into it."""

    def resident():
        with open("/proc/self/status") as lines:
            return next(int(line.split()[1]) << 10 for line in lines if line.startswith("RssFile"))

    X = memmap(tmp_path, np.ones((4096, 1024), np.float32))
    reader, before = as_reader(X), resident()
    assert reader.read(np.arange(4096)).sum() == X.size
    assert resident() - before < X.nbytes / 4
    assert X.sum() == X.size and resident() - before > X.nbytes / 2


@pytest.mark.parametrize(
    "changed",
    [
        lambda X: X.T.copy().T,
        lambda X: X[::-1],
        lambda X: X[:, ::2],
        lambda X: X[:, ::-1],
        lambda X: np.broadcast_to(X[3], X.shape),
        lambda X: X + 0,
    ],
)
def test_rows_that_do_not_lie_in_one_piece_are_read_by_slices(changed, tmp_path):
    """There is no reader of the file, and ``Rows.of`` reads the array itself."""
    X = changed(memmap(tmp_path, table()))
    assert as_reader(X) is None
    np.testing.assert_array_equal(np.asarray(Rows.of(X)[7:90]), X[7:90])


def test_columns_in_fortran_order_are_read_by_slices(tmp_path):
    """The file holds column after column."""
    (tmp_path / "X").write_bytes(table().tobytes("F"))
    X = np.memmap(tmp_path / "X", np.float32, "r", shape=(N_ROWS, N_COLUMNS), order="F")
    assert as_reader(X) is None
    np.testing.assert_array_equal(np.asarray(Rows.of(X)), table())


def test_changes_of_a_private_mapping_are_seen(tmp_path):
    """A copy-on-write memmap holds changes that its file does not; those of a shared one are in both."""
    for mode, is_private in [("c", True), ("r+", False)]:
        X = np.memmap(memmap(tmp_path, table()).filename, np.float32, mode, shape=(N_ROWS, N_COLUMNS))
        X[5] = -1
        assert (as_reader(X) is None) == is_private
        np.testing.assert_array_equal(np.asarray(Rows.of(X)[5:6]), X[5:6])


def test_a_file_without_a_name_is_read_by_slices():
    """It cannot be opened again."""
    with tempfile.TemporaryFile() as file:
        file.write(table().tobytes())
        X = np.memmap(file, np.float32, "r", shape=(N_ROWS, N_COLUMNS))
        assert as_reader(X[:10]) is None or os.path.exists(X.filename)
        np.testing.assert_array_equal(np.asarray(Rows.of(X)[:10]), table()[:10])


@pytest.mark.parametrize("n_bytes", [0, 3, 100 * 4 * N_COLUMNS, 100 * 4 * N_COLUMNS + 5])
def test_a_file_that_shrank_is_an_error(n_bytes, tmp_path):
    """The error tells how many rows there are; rows that are still there can be read."""
    X = memmap(tmp_path, table())
    reader, n_left = as_reader(X), n_bytes // (4 * N_COLUMNS)
    os.truncate(X.filename, n_bytes)
    with pytest.raises(ValueError, match=rf"{X.filename}.*should hold {N_ROWS} rows, and holds {n_left}\."):
        reader.read(np.arange(N_ROWS))
    np.testing.assert_array_equal(reader.read(np.arange(n_left)), table()[:n_left])


def test_the_last_row_may_end_before_the_stride(tmp_path):
    """Rows of some columns lie a stride apart, but the file ends with the last cell of the last row."""
    X = memmap(tmp_path, table())[:, 2:4]
    reader = MemmapReader.behind(X)
    os.truncate(X.filename, table().nbytes - 3 * 4)
    np.testing.assert_array_equal(reader.read(np.arange(N_ROWS)), table()[:, 2:4])
    os.truncate(X.filename, table().nbytes - 3 * 4 - 1)
    with pytest.raises(ValueError, match=f"holds {N_ROWS - 1}"):
        reader.read(np.arange(N_ROWS))


# --- arrays in chunks -------------------------------------------------------------------------------------------------


class Recorder:
    """An array in chunks that records the slices that are read."""

    def __init__(self, array, chunks):
        self.array, self.chunks, self.shape, self.dtype, self.slices = array, chunks, array.shape, array.dtype, []

    def __getitem__(self, rows):
        self.slices.append(range(rows.start, rows.stop))
        return self.array[rows]


@pytest.mark.parametrize("chunk, span_rows", [(30, 1), (30, 100), (7, 7), (1000, 1)])
def test_every_chunk_is_read_once(chunk, span_rows, monkeypatch):
    """No two slices of a read share a chunk, and none begins or ends with a row that is not wanted."""
    monkeypatch.setattr(readers, "SPAN_BYTES", span_rows * 4 * N_COLUMNS)
    recorder = Recorder(table(), (chunk, N_COLUMNS))
    reader = SliceReader(recorder)
    assert reader.chunk_rows % chunk == 0 and reader.chunk_rows >= span_rows
    for indices in some_indices():
        recorder.slices.clear()
        np.testing.assert_array_equal(reader.read(indices), table()[indices])
        chunks = [set(i // chunk for i in rows) for rows in recorder.slices]
        assert sum(map(len, chunks)) == len(set().union(*chunks))
        assert {end for rows in recorder.slices for end in (rows[0], rows[-1])} <= set(indices.tolist())


@pytest.mark.parametrize("shape", [(N_ROWS,), (N_ROWS, 2, 2)])
def test_a_dataset_needs_rows_and_columns(shape, tmp_path):
    """The error names the shape; a memmap of another shape is left to the usual checks."""
    with pytest.raises(ValueError, match=rf"\(n_rows, n_columns\), got a Dataset of shape \({N_ROWS},"):
        as_reader(hdf5(tmp_path, np.zeros(shape)))
    assert as_reader(memmap(tmp_path, np.zeros(shape))) is None
    with pytest.raises(ValueError, match="got a ndarray of shape"):
        ArrayReader(np.zeros(shape))


@pytest.mark.parametrize("X", [[[1.0]], np.ones((2, 2)), "rows.parquet", None, np.float64(3)])
def test_other_tables_have_no_reader(X):
    """They are in memory, or no table."""
    assert as_reader(X) is None


# --- Parquet ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def mixed(tmp_path):
    """Columns of all kinds, with nulls, in row groups of 8 rows, and their file."""
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    n = 50
    columns = {
        "float": pa.array([None, 0.5] * (n // 2), pa.float32()),
        "integer": pa.array([2**60, None] * (n // 2)),
        "boolean": pa.array([True, False, None, True, True] * (n // 5)),
        "decimal": pa.array([1, 2] * (n // 2)).cast(pa.decimal128(21, 2)),
        "text": pa.array([f"row {i}" for i in range(n)]),
        "category": pa.array(["a", None, "b", "a", "c"] * (n // 5)).dictionary_encode(),
    }
    pq.write_table(pa.table(columns), tmp_path / "mixed.parquet", row_group_size=8)
    return tmp_path / "mixed.parquet", pa.table(columns)


def test_nulls_are_missing_and_booleans_are_numbers(mixed):
    """In the order in which the columns are named."""
    path, _ = mixed
    reader = ParquetReader(path, columns=["boolean", "float", "integer", "decimal"])
    assert reader.dtype == np.float64 and reader.schema.names[:2] == ["boolean", "float"]
    expected = [[1, np.nan, 2.0**60, 1], [0, 0.5, np.nan, 2], [np.nan, np.nan, 2.0**60, 1]]
    np.testing.assert_array_equal(reader.read(np.arange(3)), expected)
    assert ParquetReader(path, columns=["float"]).dtype == np.float32


def test_rows_of_columns_of_any_type_are_a_table(mixed):
    """The same rows as pyarrow takes from the table, across row groups; ``read`` names the column it cannot read."""
    path, expected = mixed
    reader = ParquetReader(path)
    for indices in (np.arange(0), np.array([0, 1, 9, 30, 49]), np.arange(50)):
        rows = reader.table(indices)
        assert rows.to_pylist() == expected.take(indices).to_pylist() and rows.schema.names == expected.schema.names
    with pytest.raises(TypeError, match="column 'text' holds string.*columns"):
        reader.read(np.arange(3))


def test_only_row_groups_with_wanted_rows_are_read(tmp_path, monkeypatch):
    """Each once, in every file."""
    folder, read = parquet(tmp_path, table(), parts=2), []
    pq = pytest.importorskip("pyarrow.parquet")
    whole = pq.ParquetFile.read_row_group
    monkeypatch.setattr(
        pq.ParquetFile, "read_row_group", lambda *args, **kw: read.append(args[1]) or whole(*args, **kw)
    )
    reader = ParquetReader(folder)
    assert reader.chunk_rows == 32
    reader.read(np.array([0, 5, 31, 100, 101, 250, 281]))
    assert read == [0, 3, 0]


def test_files_need_the_same_columns(tmp_path):
    """Errors name the file and the column."""
    pq = pytest.importorskip("pyarrow.parquet")
    pq.write_table(arrow(table()), tmp_path / "a.parquet")
    pq.write_table(arrow(table(np.float64)), tmp_path / "b.parquet")
    pq.write_table(arrow(table()[:, :3]), tmp_path / "c.parquet")
    paths = {name: tmp_path / f"{name}.parquet" for name in "abc"}
    with pytest.raises(ValueError, match=r"b.parquet has .*x0: double.* where .*a.parquet has .*x0: float"):
        ParquetReader([paths["a"], paths["b"]])
    with pytest.raises(ValueError, match=r"c.parquet has none where"):
        ParquetReader([paths["a"], paths["c"]])
    assert ParquetReader([paths["a"], paths["c"]], columns=["x2", "x1"]).shape == (2 * N_ROWS, 2)
    with pytest.raises(ValueError, match=r"c.parquet has no column 'x5'; it has \['x0', 'x1', 'x2'\]"):
        ParquetReader(paths["c"], columns=["x5"])


def test_a_folder_without_files_is_an_error(tmp_path):
    """Instead of a table without rows."""
    with pytest.raises(ValueError, match="at least one Parquet file"):
        ParquetReader(tmp_path)


def test_a_missing_package_names_the_extra(monkeypatch):
    """How to install it."""
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(ImportError, match=r"needs pyarrow.*pip install 'skdgm\[large\]'"):
        ParquetReader("rows.parquet")


# --- Rows -------------------------------------------------------------------------------------------------------------


class CountingReader(ArrayReader):
    """Counts the rows that are read."""

    n_read = 0

    def read(self, indices):
        self.n_read += len(indices)
        return super().read(indices)


RNG = np.random.default_rng(3)
SELECTIONS = [
    slice(None),
    slice(20, 300),
    slice(300, 20, -3),
    slice(-200, None),
    np.arange(N_ROWS)[::-2],
    np.array([5, 5, 0, -1, 3]),
    RNG.random(N_ROWS) < 0.5,
    RNG.permutation(N_ROWS),
    [],
    np.zeros(N_ROWS, bool),
]


@pytest.mark.parametrize("first", SELECTIONS, ids=str)
def test_rows_select_as_arrays_do(first):
    """A selection of a selection has the rows of the array's, in any order, repeated or not; and reads nothing."""
    reader = CountingReader(table())
    chosen, expected = Rows(reader)[first], table()[first]
    n = len(expected)
    again = [slice(1, None, 2), slice(None, None, -1), np.arange(n)[::-1], np.arange(n) % 3 == 0]
    for second in again:
        assert chosen[second].shape == expected[second].shape and chosen[second].size == expected[second].size
        assert len(chosen[second]) == len(expected[second])
    assert reader.n_read == 0
    for second in again:
        np.testing.assert_array_equal(np.asarray(chosen[second]), expected[second])
    np.testing.assert_array_equal(chosen.read(np.arange(n)[::-1]), expected[::-1])


def test_a_row_is_read_once():
    """Even if it is selected repeatedly."""
    reader = CountingReader(table())
    np.testing.assert_array_equal(Rows(reader).read(np.array([7, 3, 7, 7])), table()[[7, 3, 7, 7]])
    assert reader.n_read == 2


@pytest.mark.parametrize(
    "selection, message",
    [
        (np.array([0, 9]), "out of range for 9 rows"),
        (np.array([-10]), "from -10 to -10"),
        (np.ones(8, bool), "mask of shape .8,. cannot select from 9 rows"),
        (np.array([0.5]), "slice, a mask or an array of indices"),
        (3, "slice, a mask or an array of indices"),
    ],
)
def test_selections_that_do_not_fit_are_errors(selection, message):
    """As of a selection of the rows, not of the table."""
    with pytest.raises(IndexError, match=message):
        Rows(ArrayReader(table()))[:9][selection]


def test_rows_are_always_a_copy():
    """NumPy asks for no copy in vain; rows of rows are themselves."""
    rows = Rows.of(table())
    assert Rows.of(rows) is rows
    with pytest.raises(ValueError, match="copy"):
        rows.__array__(copy=False)  # np.asarray takes this argument from NumPy 2 on
    assert np.asarray(rows, dtype=np.float16).dtype == np.float16
