"""Texts that are hardly categories: numbers and dates that were read as text, and names of rows."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from skdgm._warnings import warn_user
from skdgm.estimators._frames import NUMBERS, title_of
from skdgm.estimators._tables import ColumnFormat, TableFormat

# Zeros before other digits mark a code, such as 007, not a number.
NUMBER = re.compile(r"\s*[-+]?[$€£]?(0|[1-9]\d{0,2}(,\d{3})+|[1-9]\d*)?([.,]\d*)?([eE][-+]?\d+)?\s*%?\s*")
DATE = re.compile(r"\s*(\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{4})([T ]\d{1,2}:\d{2}.*)?\s*")
# So many different texts of which at least this share are numbers, or dates, were not meant as categories.
MIN_DISTINCT, MIN_SHARE = 10, 0.9
# Texts of which more than this share of so many rows are different name rows.
MAX_DISTINCT_SHARE, MIN_ROWS = 0.5, 20


def warn_of_texts(table: TableFormat, declared: Sequence[Any], n_rows: int) -> None:
    """Warn of columns whose texts are hardly categories, unless the dtype declares them as such."""
    for j, (form, categories) in enumerate(zip(table.columns, declared, strict=True)):
        if form.kind == "category" and categories is None:
            found = what_is_wrong(form, n_rows)
            if found:
                warn_user(
                    f"{title_of(form.name, j).capitalize()} of X holds {found} If these are categories, declare them, "
                    "for example by X.astype({name: 'category'}) in pandas.",
                )


def what_is_wrong(form: ColumnFormat, n_rows: int) -> str:
    """What texts are if not categories, and what to do; "" if they may be categories."""
    labels = form.categories or ()
    if len(labels) > MIN_DISTINCT:
        for kind, is_one, way_out in (
            ("numbers", is_number, "Convert it to numbers, for example by pandas.to_numeric"),
            ("dates", is_date, "Convert it to numbers, such as days since the first one"),
        ):
            others = [label for label in labels if not is_one(label)]
            if len(others) <= (1 - MIN_SHARE) * len(labels):
                example = next(label for label in labels if is_one(label))
                mark = f", with NaN for {others[0]!r} if that marks missing cells" if others else ""
                return f"{kind} as text, such as {example!r}, which are read as categories. {way_out}{mark}."
    if n_rows >= MIN_ROWS and len(labels) > MAX_DISTINCT_SHARE * n_rows:
        return (
            f"{len(labels)} different texts in {n_rows} rows, each of which is read as a category of its own. Drop it "
            "if it names rows."
        )
    return ""


def is_number(label: Any) -> bool:
    """Tell whether a label is a number, or the text of one."""
    if isinstance(label, NUMBERS):
        return True
    return isinstance(label, str) and bool(NUMBER.fullmatch(label)) and any(map(str.isdigit, label))


def is_date(label: Any) -> bool:
    """Tell whether a label is the text of a date."""
    return isinstance(label, str) and bool(DATE.fullmatch(label))
