"""Sparse matrices: the fit, the predictions and the samples are those of the dense array."""

import resource
from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from sklearn.feature_extraction.text import TfidfTransformer

from skdgm import DLGM, VAE, ADGMClassifier, M1Classifier, M1M2Classifier, M2Classifier, TransductiveSVC
from skdgm.datasets import mask_labels
from skdgm.estimators._base import BaseDeepGenerative
from skdgm.estimators._streams import OF_SPARSE, Extremes, Stream
from skdgm.readers import Rows
from skdgm.sources import ResidentSource
from skdgm.sparse import SparseReader, SparseSource

N_ROWS, N_COLUMNS = 300, 12
SHORT = {"max_iter": 2, "random_state": 0}
FEW_DRAWS = {**SHORT, "n_importance_samples": 3}
MAKERS = {
    "VAE": lambda **params: VAE(**FEW_DRAWS, **params),
    "DLGM": lambda **params: DLGM((3, 2), **SHORT, **params),
    "M1": lambda **params: M1Classifier(encoder=VAE(**SHORT, **params), random_state=0),
    "M2": lambda **params: M2Classifier(**FEW_DRAWS, **params),
    "ADGM": lambda **params: ADGMClassifier(**FEW_DRAWS, **params),
    "M1M2": lambda **params: M1M2Classifier(encoder=VAE(**SHORT, **params), **FEW_DRAWS),
}
METHODS = ["transform", "score_samples", "elbo_samples", "predict", "predict_proba"]


def classes():
    """The class of each row."""
    return np.arange(N_ROWS) % 3


def few_labels():
    """A fifth of the labels."""
    return np.where(np.arange(N_ROWS) < N_ROWS // 5, classes(), -1)


def cells(likelihood="poisson", dtype=np.float32):
    """Rows of three classes with many zeros."""
    rng = np.random.default_rng(0)
    counts = rng.poisson(0.2 + 2 * (classes()[:, None] == np.arange(N_COLUMNS) % 3))
    if likelihood == "bernoulli":
        counts = counts > 0
    if likelihood == "zero_inflated_lognormal":
        counts = counts * rng.lognormal(size=counts.shape)
    return counts.astype(dtype)


# --- the bits of the dense array --------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    "name, likelihood",
    [*(("VAE", likelihood) for likelihood in OF_SPARSE), *((name, "poisson") for name in MAKERS if name != "VAE")],
)
def test_sparse_and_dense_fits_have_the_same_bits(name, likelihood):
    """In every method, read sparse or dense."""
    X, y = cells(likelihood), few_labels()
    dense, sparse = (
        MAKERS[name](likelihood=likelihood).fit(X, y),
        MAKERS[name](likelihood=likelihood).fit(sp.csr_array(X), y),
    )
    for method in METHODS:
        if hasattr(dense, method):
            expected = getattr(dense, method)(X)
            np.testing.assert_array_equal(getattr(sparse, method)(sp.csr_array(X)), expected, err_msg=method)
            np.testing.assert_array_equal(getattr(dense, method)(sp.csc_array(X)), expected, err_msg=method)


@pytest.mark.parametrize("name", ["M1", "M2", "M1M2"])
def test_all_rows_may_be_labeled(name):
    """Sources and features of no unlabeled rows are empty."""
    assert MAKERS[name]().fit(sp.csr_array(cells()), classes()).score(sp.csr_array(cells()), classes()) > 0.9


def test_stored_nan_is_a_missing_cell():
    """As in the dense array, in fit and prediction; a stored zero is a zero, and repeated cells are summed."""
    X = cells()
    X[::9, 2] = np.nan
    sparse = sp.csr_array(X)
    rows, columns = np.nonzero(X)
    parts = sp.coo_array((np.tile(X[rows, columns] / 2, 2), (np.tile(rows, 2), np.tile(columns, 2))), X.shape)
    with_zeros = sparse.copy()
    with_zeros.data[with_zeros.data == 1] = 0
    cleared = with_zeros.toarray()
    for one, other in [(sparse, X), (parts.tocsr(), X), (with_zeros, cleared)]:
        expected = VAE(likelihood="poisson", **SHORT).fit(other).score_samples(other)
        np.testing.assert_array_equal(VAE(likelihood="poisson", **SHORT).fit(one).score_samples(one), expected)
    assert with_zeros.nnz == sparse.nnz  # X is the caller's


def test_the_source_gives_the_rows_of_the_dense_source():
    """With labels, weights and masks; rows of different numbers of cells, none, and all."""
    rng = np.random.default_rng(1)
    X = (rng.random((40, 7)) * (rng.random((40, 7)) < rng.random((40, 1)))).astype(np.float32)
    X[3], X[4] = 0, 1
    X[5, 2] = np.nan
    csr, y, weight = sp.csr_array(X), torch.arange(40), torch.from_numpy(rng.random(40, np.float32))
    parts = (
        torch.from_numpy(part.astype(kind))
        for part, kind in [(csr.indptr, "i8"), (csr.indices, "i4"), (csr.data, "f4")]
    )
    sparse = SparseSource(*parts, 7, y, weight)
    observed = torch.from_numpy(~np.isnan(X))
    dense = ResidentSource(torch.from_numpy(np.nan_to_num(X)), observed, y, weight)
    for indices in (torch.arange(40), torch.tensor([3, 5, 5, 0]), torch.arange(39, 0, -3)):
        for found, expected in zip(sparse.rows(indices, None), dense.rows(indices, None), strict=True):
            assert (found is None and expected is None) or torch.equal(found, expected)
        subset = sparse.subset(indices)
        assert torch.equal(subset.rows(torch.arange(2), None).x, sparse.rows(indices[:2], None).x)
    orders = [source.order(torch.Generator().manual_seed(0)) for source in (sparse, dense)]
    assert torch.equal(*orders)


def test_a_matrix_without_cells_has_rows_of_zeros():
    """Of any width."""
    source = SparseSource(torch.zeros(6, dtype=torch.int64), torch.zeros(0, dtype=torch.int32), torch.zeros(0), 4)
    assert torch.equal(source.rows(torch.tensor([4, 0]), None).x, torch.zeros(2, 4))


def test_the_extremes_of_a_sparse_matrix_are_those_of_its_rows():
    """Stored or not; a column of stored cells only may have no zero."""
    rng = np.random.default_rng(3)
    X = rng.standard_normal((50, 6)) * (rng.random((50, 6)) < 0.3)
    X[:, 1] = 3
    X[:, 2] = np.nan
    X[4, 3] = np.nan
    found, expected = Extremes(6, np.float64), Extremes(6, np.float64)
    found.add_sparse(sp.csr_array(X))
    expected.add(X)
    for name in ("low", "high", "misses_cells"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), err_msg=name)
    np.testing.assert_array_equal(np.isnan(found.fraction), np.isnan(expected.fraction))


# --- "auto" -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change, likelihood, reason",
    [
        (lambda X: X > 0, "bernoulli", "only 0 and 1"),
        (lambda X: X, "poisson", "sparse counts"),
        (lambda X: X / X.max(), "bernoulli", "sparse values in [0, 1], read as probabilities"),
        (lambda X: X * 1.5, "zero_inflated_lognormal", "sparse positive values"),
    ],
)
def test_auto_chooses_for_all_columns_together(change, likelihood, reason):
    """By the values of all cells, with the reason."""
    model = VAE(**SHORT).fit(sp.csr_array(change(cells()).astype(np.float64)))
    assert {(choice.likelihood, choice.reason) for choice in model.likelihoods_} == {(likelihood, reason)}


def test_one_rare_cell_decides(monkeypatch):
    """Though it is not among the rows from which columns are described."""
    monkeypatch.setattr("skdgm.estimators._streams.MAX_ROWS", 50)
    X = sp.lil_array(cells("bernoulli"))
    X[211, 4] = 2
    assert VAE(**SHORT).fit(X.tocsr()).likelihood_ == "poisson"
    X[211, 4] = 2.5
    assert VAE(**SHORT).fit(X.tocsr()).likelihood_ == "zero_inflated_lognormal"
    with pytest.raises(ValueError, match="column 4, row 211"):
        VAE(likelihood="poisson", **SHORT).fit(X.tocsr())


def test_likelihoods_that_move_zeros_are_refused():
    """Negative values, too; the errors say what to use."""
    X = sp.csr_array(cells())
    for likelihood in ("gaussian", "student_t", "lognormal", [("poisson", [0]), ("gaussian", slice(1, None))]):
        with pytest.raises(ValueError, match=r"cannot be used for sparse X.*'poisson'.*toarray"):
            VAE(likelihood=likelihood, **SHORT).fit(X)
    with pytest.raises(ValueError, match="without negative values, got -"):
        VAE(**SHORT).fit(-X)


def test_a_warm_start_needs_such_a_likelihood_too():
    """The first fit, to an array, may have been Gaussian; it then still predicts sparse rows."""
    X = cells() + np.random.default_rng(0).standard_normal((N_ROWS, N_COLUMNS)).astype(np.float32)
    model = VAE(likelihood="gaussian", warm_start=True, **SHORT).fit(X)
    np.testing.assert_array_equal(model.transform(sp.csr_array(X)), model.transform(X))
    with pytest.raises(ValueError, match="cannot be used for sparse X"):
        model.fit(sp.csr_array(X))


# --- samples, errors --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [sp.csr_array, sp.csr_matrix])
def test_samples_are_sparse_in_the_kind_of_the_training_rows(kind, monkeypatch):
    """In CSR format, with the cells of a model that was fitted to the array; drawn in parts."""
    monkeypatch.setattr("skdgm.estimators._base.MAX_ROWS_TO_DRAW", 50)
    X = cells()
    drawn = VAE(likelihood="poisson", **SHORT).fit(kind(X)).sample(120, random_state=0)
    assert isinstance(drawn, kind) and drawn.shape == (120, N_COLUMNS) and drawn.dtype == np.float32
    expected = VAE(likelihood="poisson", **SHORT).fit(X).sample(120, random_state=0)
    np.testing.assert_array_equal(drawn.toarray(), expected)
    assert drawn.nnz == np.count_nonzero(expected)


def test_impute_refuses_a_sparse_matrix():
    """It would have to be dense."""
    X = sp.csr_array(cells())
    with pytest.raises(ValueError, match=r"impute fills tables in memory.*X\[start:stop\].toarray\(\)"):
        VAE(**SHORT).fit(X).impute(X)


def test_infinite_cells_and_text_models_are_errors():
    """scikit-learn's words, and ours."""
    X = sp.csr_array(cells())
    words = np.array([["a", 1.0], ["b", 2.0]] * 30, dtype=object)
    with pytest.raises(ValueError, match="fitted to a table with text or categories.*csr_array"):
        VAE(**SHORT).fit(words).transform(sp.csr_array(np.ones((2, 2))))
    X.data[5] = np.inf
    with pytest.raises(ValueError, match="infinity"):
        VAE(**SHORT).fit(X)


def test_others_refuse_sparse_matrices():
    """They say that they need dense rows."""
    with pytest.raises(TypeError, match="[Ss]parse"):
        TransductiveSVC().fit(sp.csr_array(cells()), few_labels())


# --- size -------------------------------------------------------------------------------------------------------------


def test_the_matrix_is_never_dense(monkeypatch):
    """200,000 x 5,000 cells would take 4 GB; three steps take less than one."""
    n_rows, n_columns, n_cells = 200_000, 5_000, 10
    settings = BaseDeepGenerative._settings
    monkeypatch.setattr(BaseDeepGenerative, "_settings", lambda *args: replace(settings(*args), n_steps=3))
    rng = np.random.default_rng(0)
    columns = np.sort(rng.integers(n_columns // n_cells, size=(n_rows, n_cells))) + np.arange(0, n_columns, 500)
    ones, starts = np.ones(n_rows * n_cells, np.float32), np.arange(0, n_rows * n_cells + 1, n_cells)
    X = sp.csr_array((ones, columns.ravel(), starts), shape=(n_rows, n_columns))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    model = VAE(4, hidden_layer_sizes=(8,), max_iter=1, batch_size=100, early_stopping=False, random_state=0).fit(X)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1e6  # in kB
    assert model.likelihood_ == "bernoulli"


def test_a_pass_over_a_sparse_matrix_makes_no_row_dense(monkeypatch):
    """Only the sample is."""
    monkeypatch.setattr("skdgm.estimators._streams.MAX_ROWS", 50)
    reader, n_read = SparseReader(sp.csr_array(cells())), []
    read = reader.read
    reader.read = lambda indices: n_read.append(len(indices)) or read(indices)
    assert Stream(Rows(reader)).looked.shape == (54, N_COLUMNS)
    assert n_read == [50]


# --- texts ------------------------------------------------------------------------------------------------------------


def texts(n_rows=900, n_columns=400, seed=0):
    """TF-IDF of texts about three topics."""
    rng = np.random.default_rng(seed)
    topics = rng.dirichlet(np.full(n_columns, 0.05), 3)
    y = rng.integers(3, size=n_rows)
    background = rng.dirichlet(np.full(n_columns, 0.5))
    counts = np.stack([rng.multinomial(40, 0.3 * topics[label] + 0.7 * background) for label in y])
    return TfidfTransformer().fit_transform(sp.csr_array(counts)), y


def test_m2_classifies_texts_from_few_labels():
    """Sparse TF-IDF from end to end: better than chance by far on other texts."""
    X, y = texts()
    model = M2Classifier(max_iter=10, random_state=0).fit(X[:600], mask_labels(y[:600], 60, random_state=0))
    assert model.likelihood_ == "bernoulli" and "probabilities" in model.likelihoods_[0].reason
    assert model.score(X[600:], y[600:]) > 0.85
    assert model.transform(X[600:]).shape == (300, 10)
