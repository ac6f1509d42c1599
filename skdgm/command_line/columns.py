"""What the columns of a table hold, read from all rows: numbers, text, or something that a model cannot use."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from skdgm.command_line.messages import CommandError

# A zero before other digits marks a code, such as 007, not a number.
INTEGER = r"^[-+]?(0|[1-9]\d{0,14})$"
NUMBER = r"^[-+]?((0|[1-9]\d*)(\.\d*)?|\.\d+)([eE][+-]?\d+)?$"
NUMBER_WITH_COMMA = NUMBER.replace(r"\.", r"[.,]")
TELEPHONE = r"^\+[1-9]\d{6,14}$"
TIME = r"\d{1,2}:\d{2}(:\d{2}.*)?"
DAY = r"\d{4}[-/.]\d{1,2}([-/.]\d{1,2})?|\d{1,2}[-/.]\d{1,2}[-/.](\d{4}|\d{2})|\d{1,2}\.? [A-Za-z]{3,9}\.? \d{4}"
DATE = rf"^(({DAY})([T ]{TIME})?|{TIME})$"
WHOLE = r"^[-+]?\d+$"
# A point before three digits, in a file with decimal commas.
THOUSANDS = r"^[-+]?[1-9]\d{0,2}\.\d{3}$"
NAME_OF_IDENTIFIER = re.compile(r"(?i:(^|[\W_])(id|uuid|guid|index|key))$|[a-z](ID|Id)$|^$")

# A column that has this few rows is never taken for an identifier.
MIN_ROWS = 10
# A column in which at least this share of the cells are dates is one of dates.
MOSTLY_DATES = 0.9
# Text is a category if at most this share of its cells, and at most this many, are different.
MAX_DISTINCT_SHARE, MAX_CATEGORIES = 0.5, 1_000
# A column of text is reported as numbers with another mark for missing cells if at least this share are numbers.
MOSTLY_NUMBERS, MAX_MARKS = 0.5, 3


@dataclass
class Column:
    """What a column holds.

    Attributes
    ----------
    name : str
    type : pyarrow.DataType
        Type of its cells in the file; that of text in all columns of a file of text.
    reads_numbers : bool
        Whether to read text as numbers where all of it is.
    decimal_comma : bool
        Whether numbers may have a comma before their fraction.
    n_rows, n_observed, n_numbers, n_integers, n_whole, n_pointed, n_thousands, n_dates, n_telephones : int
        Numbers of all cells, of those that are not missing, and of those that are such text.
    decimals : int
        Most digits behind the decimal point; -1 if a number has an exponent.
    comma : bool
        Whether a number has a decimal comma.
    others : Counter
        Text that is no number, as long as there are few different ones.
    """

    name: str
    type: pa.DataType
    reads_numbers: bool
    decimal_comma: bool = False
    n_rows: int = 0
    n_observed: int = 0
    n_numbers: int = 0
    n_integers: int = 0
    n_whole: int = 0
    n_pointed: int = 0
    n_thousands: int = 0
    n_dates: int = 0
    n_telephones: int = 0
    decimals: int = 0
    comma: bool = False
    others: Counter[str] = field(default_factory=Counter)
    _steps: set[float] = field(default_factory=set)
    _last: float | None = None

    # --- learn --------------------------------------------------------------------------------------------------

    def update(self, cells: pa.Array) -> None:
        """Take note of more cells of the column."""
        self.n_rows += len(cells)
        self.n_observed += len(cells) - cells.null_count
        if self.is_unreadable:
            return
        observed = cells.drop_null()
        if self.reads_numbers:
            self._update_texts(observed)
        if self.is_number:
            numbers = without_plus(observed) if self.reads_numbers else observed
            numbers = pc.replace_substring(numbers, ",", ".") if self.reads_numbers else numbers
            self._update_steps(numbers.cast(pa.float64(), safe=False).to_numpy())

    def _update_texts(self, observed: pa.Array) -> None:
        is_number = pc.match_substring_regex(observed, NUMBER_WITH_COMMA if self.decimal_comma else NUMBER)
        numbers, others = observed.filter(is_number), observed.filter(pc.invert(is_number))
        self.n_numbers += len(numbers)
        self.n_integers += sum_of(pc.match_substring_regex(numbers, INTEGER))
        self.n_whole += sum_of(pc.match_substring_regex(numbers, WHOLE))
        self.n_pointed += sum_of(pc.match_substring(numbers, "."))
        self.n_thousands += sum_of(pc.match_substring_regex(numbers, THOUSANDS))
        self.n_dates += sum_of(pc.match_substring_regex(others, DATE))
        self.n_telephones += sum_of(pc.match_substring_regex(numbers, TELEPHONE))
        if len(self.others) <= MAX_MARKS:
            for pair in others.value_counts().to_pylist()[: MAX_MARKS + 1]:
                self.others[pair["values"]] += pair["counts"]
        digits = pc.utf8_length(pc.replace_substring_regex(numbers, r"^[^.,]*[.,]?", ""))
        has_exponent = pc.any(pc.match_substring_regex(numbers, "[eE]")).as_py()
        self.decimals = -1 if has_exponent or self.decimals < 0 else max(self.decimals, pc.max(digits).as_py() or 0)
        self.comma = self.comma or bool(pc.any(pc.match_substring(numbers, ",")).as_py())

    def _update_steps(self, numbers: np.ndarray) -> None:
        """Collect differences between neighboring numbers; two tell that it is no running number."""
        joined = numbers if self._last is None else np.r_[self._last, numbers]
        self._steps.update(np.unique(np.diff(joined))[:2].tolist())
        self._last = float(numbers[-1]) if len(numbers) else self._last

    # --- judge --------------------------------------------------------------------------------------------------

    @property
    def is_unreadable(self) -> bool:
        """Whether the type is one of bytes, or of values with parts."""
        return pa.types.is_nested(self.type) or pa.types.is_binary(self.type) or pa.types.is_large_binary(self.type)

    @property
    def is_number(self) -> bool:
        """Whether all cells are numbers."""
        if self.reads_numbers:
            return 0 < self.n_numbers == self.n_observed
        return holds_numbers(self.type)

    @property
    def is_integer(self) -> bool:
        """Whether all cells are whole numbers."""
        return 0 < self.n_integers == self.n_observed if self.reads_numbers else pa.types.is_integer(self.type)

    @property
    def is_running_number(self) -> bool:
        """Whether all cells are numbers, and the whole difference to the one before is always the same."""
        is_steady = self.is_number and self.n_observed == self.n_rows and len(self._steps) == 1
        return is_steady and all(step and step.is_integer() for step in self._steps)

    def reason_to_leave_out(self, sample: pa.Array) -> str:
        """Return why the column cannot help a model, judging by some of its cells, too; "" if it can."""
        if not self.n_observed:
            return "all its cells are empty"
        if self.is_unreadable:
            return f"its type is {self.type}"
        observed = sample.drop_null()
        n_distinct = pc.count_distinct(observed).as_py()
        if pa.types.is_temporal(self.type) or self.n_dates >= MOSTLY_DATES * self.n_observed:
            return "dates and times are not read; add a column with a number, such as days since the first one"
        if self.n_telephones == self.n_observed:
            return "telephone numbers"
        if len(observed) < MIN_ROWS:
            return ""
        if self.is_running_number:
            return "a running number"
        if self.is_number:
            is_whole = self.is_integer or self.n_whole == self.n_observed
            is_identifier = is_whole and n_distinct == len(observed) and NAME_OF_IDENTIFIER.search(self.name)
            return "an identifier: every number is different" if is_identifier else ""
        if n_distinct > MAX_DISTINCT_SHARE * len(observed):
            return self.mark or "names, identifiers or free text: most cells are different"
        return f"more than {MAX_CATEGORIES:,} different texts" if n_distinct > MAX_CATEGORIES else ""

    @property
    def mark(self) -> str:
        """What to say about a text among numbers that may mark missing cells; "" if there is none."""
        if self.is_number or len(self.others) > MAX_MARKS or self.n_numbers < MOSTLY_NUMBERS * max(1, self.n_observed):
            return ""
        text, count = self.others.most_common(1)[0]
        return (
            f"{count} of its {self.n_observed} cells read {text!r} and the others are numbers. If that marks a missing "
            f"cell, add --missing {text!r}"
        )

    @property
    def has_thousands(self) -> bool:
        """Whether all points in its numbers may be separators of thousands, in a file with decimal commas."""
        return self.decimal_comma and self.is_number and 0 < self.n_thousands == self.n_pointed

    # --- convert ------------------------------------------------------------------------------------------------

    @property
    def model_type(self) -> pa.DataType:
        """Type of the column in the tables that a model gets."""
        if self.is_integer:
            return pa.int64()
        return pa.float64() if self.is_number else self.type

    def native(self, cells: pa.Array) -> pa.Array:
        """Return cells that a model has filled or drawn, as they are written to the file."""
        if not self.reads_numbers:
            return cells.cast(self.type, safe=False)
        if not pa.types.is_floating(cells.type):
            return cells.cast(pa.string())
        says_decimals = self.decimals > 0 or (self.decimals == 0 and self.n_numbers and not self.is_integer)
        form = f"{{:.{self.decimals}f}}" if says_decimals else "{:.6g}"  # the model's rows may have had more
        texts = [None if value is None else without_negative_zero(form.format(value)) for value in cells.to_pylist()]
        return pa.array([text and text.replace(".", ",") for text in texts] if self.comma else texts, pa.string())


def typed(cells: pa.Array, type_: pa.DataType, name: str, *, decimal_comma: bool) -> pa.Array:
    """Return the cells of a column as numbers, or as text.

    Raises
    ------
    CommandError
        If a cell is infinite, or not what the model has been trained on.
    """
    is_text = pa.types.is_string(cells.type)
    try:
        if is_text and holds_numbers(type_):
            cells = without_plus(cells)
        if is_text and pa.types.is_floating(type_):
            cells = pc.replace_substring(cells, ",", ".") if decimal_comma else cells
        cells = cells.cast(type_)
    except pa.ArrowException as error:
        raise CommandError(
            f"column {name!r} holds {type_} in the rows that the model was trained on, but not here: {error}. Correct "
            "the cell, or name the text that marks a missing cell with --missing."
        ) from error
    if pa.types.is_floating(type_) and pc.all(pc.is_finite(cells)).as_py() not in (True, None):
        raise CommandError(f"column {name!r} holds an infinite or too large number. Correct the cell, or empty it.")
    return cells


def holds_numbers(type_: pa.DataType) -> bool:
    """Tell whether cells of a type are numbers."""
    return pa.types.is_integer(type_) or pa.types.is_floating(type_) or pa.types.is_decimal(type_)


def without_negative_zero(text: str) -> str:
    """Return a number as text, without the sign of a number that is rounded to 0."""
    return text.removeprefix("-") if float(text) == 0 else text


def without_plus(numbers: pa.Array) -> pa.Array:
    """Return numbers as text without a plus sign before the first digit, which PyArrow refuses in integers."""
    return pc.replace_substring_regex(numbers, r"^\+([\d.])", r"\1")


def sum_of(mask: Any) -> int:
    """Number of true entries."""
    return int(pc.sum(mask).as_py() or 0)
