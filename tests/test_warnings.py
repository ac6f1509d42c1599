"""Warnings point at the user's line, and fits in threads leave Python's filters as they are."""

import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning

from skdgm import VAE, DeepImputer, M2Classifier
from skdgm._warnings import ignored, silenced, warn_user

pd = pytest.importorskip("pandas")
X, Y = load_iris(return_X_y=True)
FEW = np.where(np.arange(150) % 3 == 0, Y, -1)
SMALL = {"hidden_layer_sizes": (8,), "max_iter": 2, "random_state": 0}


def test_silence_is_that_of_one_thread():
    def warned():
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            warn_user("hello")
        return len(caught)

    with silenced():
        assert warned() == 0
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(warned).result() == 1
        with silenced():
            pass
        assert warned() == 0
    assert warned() == 1


def test_blocks_that_ignore_warnings_take_turns():
    """Otherwise, the last of them to end would restore the filters of another one."""
    before, inside, barrier = list(warnings.filters), [], threading.Barrier(4)

    def block():
        barrier.wait()
        for _ in range(50):
            with ignored(UserWarning):
                inside.append(1)
                assert len(inside) == 1
                warnings.warn("nobody sees this", UserWarning, stacklevel=1)
                inside.pop()

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(block) for _ in range(4)]:
            done.result()
    assert list(warnings.filters) == before


@pytest.mark.parametrize("model", [M2Classifier(2, calibration_cv=3, **SMALL), VAE(2, **SMALL)], ids=repr)
def test_fits_in_threads_leave_the_filters(model):
    """scikit-learn's validation changes filters as well, so only those that ignore warnings are compared."""
    params = [{**model.get_params(), "max_iter": 1 + i} for i in range(6)]
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        before = ignored_by_filters()
        with ThreadPoolExecutor(3) as pool:
            list(pool.map(lambda of_one: type(model)(**of_one).fit(X, FEW) and None, params))
        assert ignored_by_filters() & {Warning, ConvergenceWarning, RuntimeWarning} <= before


def ignored_by_filters():
    return {category for action, _, category, *_ in warnings.filters if action == "ignore"}


def test_folds_of_a_calibration_do_not_warn():
    """Each of them would say what the fit to all labels says."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        far = np.where(np.arange(150)[:, None] == 7, 1e12, X)
        M2Classifier(2, calibration_cv=3, **SMALL).fit(far, FEW)
    assert [warning for warning in caught if "extremely far" in str(warning.message)][1:] == []


def wrong_calls():
    texts = pd.DataFrame({"a": X[:, 0], "b": [f"{x:.3f}" for x in np.linspace(0, 9, 150)]})
    groups = pd.DataFrame({"a": X[:, 0], "b": np.array(list("xyz"))[Y]})
    fitted = VAE(1, **SMALL).fit(groups)
    empty = np.c_[X, np.full(150, np.nan)]
    far = np.where(np.arange(150)[:, None] == 7, 1e12, X)
    unknown = groups.assign(b="w")
    words = np.where(FEW < 0, "", FEW.astype(str)).astype(object)
    return {
        "texts": lambda: VAE(1, **SMALL).fit(texts),
        "far cells": lambda: VAE(1, **SMALL).fit(far),
        "unknown category": lambda: fitted.transform(unknown),
        "empty column": lambda: DeepImputer(VAE(1, **SMALL)).fit_transform(empty),
        "empty label": lambda: M2Classifier(1, **SMALL).fit(X, words),
        "one class": lambda: M2Classifier(1, **SMALL).fit(X, np.where(FEW > 0, -1, FEW)),
    }


@pytest.mark.parametrize("name", sorted(wrong_calls()))
def test_warnings_point_at_the_line_of_the_user(name):
    call = wrong_calls()[name]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    assert caught and {warning.filename for warning in caught} == {__file__}
