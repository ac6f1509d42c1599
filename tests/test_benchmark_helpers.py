"""The measures, encodings, and imputers of examples/benchmarks: exact cases and independent oracles."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import pdist, squareform
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, SimpleImputer
from sklearn.linear_model import BayesianRidge, LogisticRegression

sys.path.insert(0, str(Path(__file__).parent.parent / "examples" / "benchmarks"))
from _frames import Coding, FrameBoosting, as_array, is_category
from _imputers import ChainedImputer, TableImputer
from _measures import column_shapes, correlation_similarity, gower_distances, memorization, pair_trends, total_variation


def mixed(n=200, seed=0):
    """Two correlated numbers, and a category and text that depend on one of them."""
    rng = np.random.default_rng(seed)
    a = rng.normal(size=n)
    return pd.DataFrame(
        {
            "a": a,
            "kind": pd.Categorical(np.where(a > 0, "high", "low"), ["low", "high", "never"]),
            "b": 3 * a + rng.normal(size=n),
            "text": rng.choice(["x", "y", "z"], n),
        }
    )


def with_holes(frame, share=0.2, seed=1):
    hidden = np.random.default_rng(seed).random(frame.shape) < share
    return frame.mask(hidden), hidden


def test_total_variation_of_known_shares():
    assert total_variation(pd.Series(["x"] * 3 + ["y"]), pd.Series(["x", "y"])) == pytest.approx(0.25)
    assert total_variation(pd.Series(["x"]), pd.Series(["y"])) == 1


def test_shapes_of_known_distributions():
    real = pd.DataFrame({"number": [1.0, 2.0, 3.0, 4.0], "kind": ["x", "x", "y", "y"]})
    drawn = pd.DataFrame({"number": [3.0, 4.0, 5.0, 6.0], "kind": ["x", "x", "x", "y"]})
    assert column_shapes(real, drawn) == pytest.approx((0.5 + 0.75) / 2)
    assert column_shapes(real, real.sample(frac=1, random_state=0)) == 1


def test_trends_of_opposite_correlations_and_of_a_constant():
    x = np.arange(10.0)
    rising, falling = pd.DataFrame({"a": x, "b": x}), pd.DataFrame({"a": x, "b": -x})
    assert pair_trends(rising, falling, rising) == pytest.approx(0)
    assert correlation_similarity(rising, rising.assign(b=0.0)) == pytest.approx(0.5)


def test_trends_see_what_shapes_do_not():
    real = mixed(2000)
    shuffled = real.apply(lambda column: column.sample(frac=1, random_state=len(column.name)).to_numpy())
    assert column_shapes(real, shuffled) == 1
    assert pair_trends(real, real, real) == 1
    # a and kind: half of the mass lies in pairs of bin and category that the real rows never have
    two = real[["a", "kind"]]
    assert pair_trends(two, shuffled[["a", "kind"]], two) == pytest.approx(0.5, abs=0.05)


def test_gower_distance_is_scipys_on_numbers_and_counts_differences_on_categories():
    numbers = mixed(30)[["a", "b"]]
    scaled = numbers / (numbers.max() - numbers.min())
    oracle = squareform(pdist(scaled, "cityblock"))
    np.testing.assert_allclose(gower_distances(numbers, numbers, numbers), oracle, atol=1e-5)
    text = pd.DataFrame({"t": ["x", "y", np.nan]}, dtype=object)
    assert gower_distances(text, text, text).tolist() == [[0, 1, 1], [1, 0, 1], [1, 1, 0]]


def test_unknown_categories_and_missing_numbers_are_far_from_all_known_ones():
    train = pd.DataFrame({"t": ["x", "y"], "a": [0.0, 2.0]})
    drawn = pd.DataFrame({"t": ["new"], "a": [np.nan]})
    assert gower_distances(drawn, train, train).tolist() == [[2, 2]]


def test_copies_are_found_and_fresh_rows_are_as_close_to_test_rows():
    train, test, fresh = mixed(600, 0), mixed(600, 1), mixed(600, 2)
    copied = memorization(train.sample(300, random_state=0), train, test, 0)
    assert copied == {"closer_to_training": 1.0, "copies": 1.0}
    drawn = memorization(fresh, train, test, 0)
    assert drawn["copies"] == 0
    assert drawn["closer_to_training"] == pytest.approx(0.5, abs=0.1)  # five standard errors of a share of 600 rows


def test_coding_round_trip_keeps_values_and_dtypes():
    frame = mixed()
    coding = Coding.of(frame)
    Z = coding.encode(frame)
    assert Z.shape == (200, 1 + 2 + 1 + 3)
    np.testing.assert_allclose(Z[:, [0, 3]].mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(Z[:, [0, 3]].std(axis=0), 1)
    pd.testing.assert_frame_equal(coding.decode(Z), frame)


def test_coding_of_missing_and_unknown_cells():
    coding = Coding.of(pd.DataFrame({"t": ["x", "y"], "a": [1.0, 1.0]}))
    Z = coding.encode(pd.DataFrame({"t": ["new", None], "a": [2.0, np.nan]}))
    np.testing.assert_array_equal(Z, [[0, 0, 1], [np.nan, np.nan, np.nan]])


def test_arrays_of_frames():
    frame, _ = with_holes(mixed())
    X = as_array(frame)
    assert is_category(frame).tolist() == [False, True, False, True]
    missing = frame.isna().to_numpy()
    assert all(cell is None for cell in X[:, 1][missing[:, 1]])
    assert all(np.isnan(cell) for cell in X[:, 0][missing[:, 0]])
    assert as_array(frame[["a", "b"]]).dtype == float


def test_simple_imputer_fills_means_and_most_frequent_categories():
    frame, hidden = with_holes(mixed())
    filled = TableImputer(SimpleImputer()).fit_transform(frame)
    for i, name in enumerate(frame):
        cells = filled[name][hidden[:, i]]
        if is_category(frame)[i]:
            assert set(cells) == {frame[name].mode()[0]}
        else:
            np.testing.assert_allclose(cells, frame[name].mean())
    assert filled.dtypes.equals(frame.dtypes)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_chained_imputer_is_iterative_imputer_on_numbers():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(100, 4)) @ rng.normal(size=(4, 4))
    X[rng.random(X.shape) < 0.2] = np.nan
    frame, unseen = (pd.DataFrame(part, columns=list("abcd")) for part in (X[:80], X[80:]))
    coding = Coding.of(frame)
    oracle = IterativeImputer(max_iter=3, tol=0).fit_transform(coding.encode(frame))
    chained = ChainedImputer(BayesianRidge(), LogisticRegression(), n_rounds=3)
    np.testing.assert_allclose(coding.encode(chained.fit_transform(frame)), oracle, rtol=1e-6, atol=1e-9)
    complete = unseen.dropna()
    assert 0 < len(complete) < len(unseen)
    pd.testing.assert_frame_equal(chained.transform(complete), complete)
    assert not chained.transform(unseen).isna().any(axis=None)


def test_chained_imputer_recovers_what_other_columns_determine():
    frame, hidden = with_holes(mixed(600))
    chained = ChainedImputer(BayesianRidge(), LogisticRegression())
    filled, truth = chained.fit_transform(frame), mixed(600)
    pd.testing.assert_frame_equal(filled.where(~hidden), frame)
    seen = hidden[:, 1] & ~hidden[:, 0] & (truth["a"].abs() > 0.2).to_numpy()
    assert (filled["kind"] == truth["kind"])[seen].all()


def test_boosting_on_frames_reads_categories_and_columns_without_a_labeled_cell():
    frame = mixed(400).assign(empty=np.nan)
    y = (frame["text"] == "y").to_numpy().astype(int)
    assert np.mean(FrameBoosting(0).fit(frame, y).predict(frame) == y) == 1
    few = np.where(np.arange(400) < 200, y, -1)
    itself = FrameBoosting(0, self_training=True).fit(frame, few)
    assert np.mean(itself.predict(frame)[few < 0] == y[few < 0]) == 1
    unknown = frame.assign(text="new")
    assert itself.predict_proba(unknown).shape == (400, 2)
