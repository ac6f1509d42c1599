"""Warnings of texts that are hardly categories."""

import re
import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import ConvergenceWarning

from skdgm import VAE, M1M2Classifier

N_ROWS = 60
NUMBERS = np.arange(N_ROWS) % 15 / 8 + 3


def found(column, estimator=None, y=None):
    """Messages of a fit to a table with this column."""
    X = pd.DataFrame({"x": np.sin(np.arange(len(column))), "given": column})
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        (estimator or VAE(1, hidden_layer_sizes=(4,), max_iter=1, random_state=0)).fit(X, y)
    return [str(warning.message) for warning in record if warning.category is not ConvergenceWarning]


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (NUMBERS.astype(str), "numbers as text, such as '3.0', which are read as categories. Convert it to numbers"),
        ([f"${1000 * number:,.2f}" for number in NUMBERS], "numbers as text, such as '\\$3,000.00'"),
        ([f"{number:.1%}" for number in NUMBERS], "numbers as text, such as '300.0%'"),
        ([*NUMBERS[:-1].astype(str), "?"], ".* by pandas.to_numeric, with NaN for '\\?' if that marks missing cells."),
        (np.array([*NUMBERS[:-1], "?"], object), "numbers as text"),
        ([f"2024-01-{1 + i % 28:02d}" for i in range(N_ROWS)], "dates as text, such as '2024-01-01'"),
        ([f"31/1/{1990 + i % 20}" for i in range(N_ROWS)], "dates as text"),
        ([f"patient {i}" for i in range(N_ROWS)], "60 different texts in 60 rows.* Drop it if it names rows"),
    ],
)
def test_texts_that_are_hardly_categories(column, message):
    (text,) = found(column)
    assert re.match(f"Column 'given' of X holds {message}", text)
    assert not found(pd.Series(column).astype("category")), "the dtype says that these are categories"


@pytest.mark.parametrize(
    "column",
    [
        [f"{i % 9}" for i in range(N_ROWS)],  # so few numbers may well be codes
        [f"{i % 20:03d}" for i in range(N_ROWS)],  # a zero before other digits is that of a code
        [f"city {i % 25}" for i in range(N_ROWS)],
        [f"patient {i}" for i in range(12)],  # too few rows to tell
        ["1999" if i % 2 else f"about {i % 20}" for i in range(N_ROWS)],
    ],
)
def test_texts_that_may_be_categories(column):
    assert not found(column)


def test_a_stack_of_models_warns_once():
    short = {"hidden_layer_sizes": (4,), "max_iter": 1, "random_state": 0}
    y = np.where(np.arange(N_ROWS) < 20, np.arange(N_ROWS) % 2, -1)
    assert (
        len(found([f"patient {i}" for i in range(N_ROWS)], M1M2Classifier(1, encoder=VAE(1, **short), **short), y)) == 1
    )
