"""The command line: what it fills and leaves alone, what it says, and that errors leave no file behind."""

import csv
import doctest
import io
import re
import shlex
import signal
import subprocess
import sys
import textwrap
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_iris

import skdgm
from skdgm.__main__ import main, parser

pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed: no command line")
pytest.importorskip("narwhals", reason="narwhals is not installed: no command line")

import pyarrow.parquet as pq  # noqa: E402

from skdgm.command_line import label, parquet_files, targets, text_files  # noqa: E402
from skdgm.command_line.columns import Column, typed  # noqa: E402
from skdgm.command_line.messages import CommandError  # noqa: E402
from skdgm.command_line.rows import RowSample  # noqa: E402
from skdgm.command_line.targets import labels_of  # noqa: E402

NAMES = ["sepal_length", "sepal_width", "petal_length", "petal_width"]


@pytest.fixture(autouse=True)
def _quick_fits(request, monkeypatch):
    if "real_fits" not in request.fixturenames:
        for name in ("M2Classifier", "DLGM"):
            monkeypatch.setattr(skdgm, name, partial(getattr(skdgm, name), max_iter=3, early_stopping=False))
        monkeypatch.setattr(targets, "MAX_FOLDS", 2)


@pytest.fixture
def real_fits():
    """Asked for by a test that does without quick fits."""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def flowers(n_labels=30, *, holes=0, seed=0):
    """Rows of iris in random order as text, with a species in the first ones only, and some empty cells."""
    rng, iris = np.random.default_rng(seed), load_iris()
    order = rng.permutation(150)
    rows = [[f"{cell:.1f}" for cell in row] for row in iris.data[order]]
    for cell in rng.choice(600, holes, replace=False):
        rows[cell // 4][cell % 4] = ""
    species = [iris.target_names[k] if i < n_labels else "" for i, k in enumerate(iris.target[order])]
    return [[*row, label] for row, label in zip(rows, species, strict=True)]


def write_csv(name, rows, header=(*NAMES, "species"), *, delimiter=",", end="\n"):
    Path(name).write_bytes(end.join(delimiter.join(row) for row in [header, *rows]).encode() + end.encode())


def read_csv(name, **options):
    with open(name, encoding="utf-8-sig", newline="") as file:
        return list(csv.reader(file, **options))


def run(*words):
    return main([str(word) for word in words])


# --- label -----------------------------------------------------------------------------------------------------------


def test_label_fills_and_reports(folder, capsys):
    write_csv("flowers.csv", flowers())
    assert run("label", "flowers.csv", "--target", "species", "--out", "labeled.csv") == 0
    (header, *rows), before = read_csv("labeled.csv"), Path("flowers.csv").read_text().splitlines()
    assert header == [*NAMES, "species", "species_filled", "species_probability"]
    for line, row in zip(before, [header, *rows], strict=True):
        assert ",".join(row).startswith(line)
    given, filled, probability = (np.array([row[j] for row in rows]) for j in (4, 5, 6))
    assert (filled[:30] == given[:30]).all() and (probability[:30] == "").all()
    assert set(filled) <= {"setosa", "versicolor", "virginica"} and (given[30:] == "").all()
    shares = probability[30:].astype(float)
    assert ((shares > 1 / 3 - 1e-3) & (shares <= 1)).all()
    out = capsys.readouterr().out
    assert "flowers.csv: 150 rows (30 labeled, 120 not), 4 columns read." in out and "Labels filled: 120" in out
    n_right = int(re.search(r"Accuracy: (\d+) of 30 labels predicted right", out)[1])
    assert n_right > 20
    listed = [int(row) for row in re.findall(r"^  (\d+) ", out, re.MULTILINE)]
    assert listed == (30 + 1 + np.argsort(shares, kind="stable")[:5]).tolist()


@pytest.mark.parametrize(
    ("suffix", "delimiter", "end"), [(".csv", ",", "\r\n"), (".csv", ";", "\n"), (".tsv", "\t", "\r\n")]
)
def test_rows_are_written_as_they_were(folder, suffix, delimiter, end):
    """Quotes, spaces, line ends, a byte order mark, digits, and a last line without an end stay."""
    texts = [f'"a ""b"" {delimiter}"', " a", "a"]
    rows = [[*row[:4], texts[i % 3], row[4]] for i, row in enumerate(flowers(9))]
    write_csv(f"in{suffix}", rows, [*NAMES, '"a note"', "species"], delimiter=delimiter, end=end)
    text = ("\ufeff" + Path(f"in{suffix}").read_bytes().decode()).removesuffix(end).encode()
    Path(f"in{suffix}").write_bytes(text)
    assert run("label", f"in{suffix}", "--target", "species", "--out", f"out{suffix}", "--top", 0) == 0
    after = Path(f"out{suffix}").read_bytes()
    assert after.count(end.encode()) == text.count(end.encode()) == 150 and not after.endswith(b"\n")
    for one, other in zip(text.split(b"\n"), after.split(b"\n"), strict=True):
        assert other.startswith(one.removesuffix(b"\r") + delimiter.encode())
    assert {len(row) for row in read_csv(f"out{suffix}", delimiter=delimiter)} == {8}


@pytest.mark.parametrize("start", ["", "\n", "\r\n\n"])
def test_a_byte_order_mark_before_a_quoted_name(folder, start):
    """It is no part of the name, so quotes count, and it stays the first character; blank lines go."""
    text = '"x, in m","y"\r\n' + "1.5,2\r\n2.5,3\r\n,4\r\n" * 6
    Path("in.csv").write_bytes(f"\ufeff{start}{text}".encode())
    assert run("impute", "in.csv", "--out", "out.csv", "--ignore", "y") == 0
    after = Path("out.csv").read_bytes().decode()
    assert after.startswith('\ufeff"x, in m","y"\r\n1.5,2\r\n') and after.count("\ufeff") == 1
    before, filled = list(csv.reader(text.splitlines())), read_csv("out.csv")
    assert all(cell in ("", now) for rows in zip(before, filled, strict=True) for cell, now in zip(*rows, strict=True))
    assert all(cell for row in filled for cell in row)


@pytest.mark.parametrize("start", ["\n", "\r\n\r\n", "\ufeff\n"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_blank_lines_before_the_header_do_not_hide_the_delimiter(folder, start, delimiter):
    Path("in.csv").write_bytes(f"{start}a{delimiter}b\n1{delimiter}2\n".encode())
    table = text_files.TextTable(Path("in.csv"))
    assert table.names == ["a", "b"] and table.decimal_comma == (delimiter == ";")
    assert [block.table.to_pylist() for block in table.blocks()] == [[{"a": "1", "b": "2"}]]


def test_blocks_do_not_change_the_output(folder, monkeypatch):
    write_csv("flowers.csv", flowers(9, holes=20))
    assert run("label", "flowers.csv", "--target", "species", "--out", "whole.csv") == 0
    assert run("impute", "flowers.csv", "--ignore", "species", "--out", "whole_filled.csv") == 0
    monkeypatch.setattr(text_files, "CELLS_PER_BLOCK", 5 * 7)
    assert run("label", "flowers.csv", "--target", "species", "--out", "parts.csv") == 0
    assert run("impute", "flowers.csv", "--ignore", "species", "--out", "parts_filled.csv") == 0
    assert Path("whole.csv").read_bytes() == Path("parts.csv").read_bytes()
    assert Path("whole_filled.csv").read_bytes() == Path("parts_filled.csv").read_bytes()


@pytest.mark.parametrize(
    "labels",
    [
        {"setosa": "-1", "versicolor": "1"},
        {"setosa": "01", "versicolor": "2"},
        {"setosa": "+1", "versicolor": "-1"},
    ],
)
def test_labels_are_written_as_they_are_spelled(folder, labels):
    """-1 is a class like others here, and neither 01 nor +1 is 1."""
    kept = {**labels, "virginica": "10", "": ""}
    write_csv("flowers.csv", [[*row[:4], kept[row[4]]] for row in flowers()])
    assert run("label", "flowers.csv", "--target", "species", "--out", "labeled.csv") == 0
    assert {row[5] for row in read_csv("labeled.csv")[1:]} == {*labels.values(), "10"}


def test_whole_numbers_are_integer_labels():
    def of(*cells, type_=None):
        column = pa.chunked_array([pa.array(cells, type_)])
        return labels_of(column, {cell: 1 for cell in cells if cell is not None}).tolist()

    assert of("1", None, "-1") == [1, None, -1]
    assert of("01", "2") == ["01", "2"] and of("1.5", "2") == ["1.5", "2"] and of("a", "2") == ["a", "2"]
    assert of(1.0, None, 2.0) == [1, None, 2] and [type(label) for label in of(1.0, 2.0)] == [int, int]
    assert of(True, None) == [True, None]


def test_a_column_of_numbers_with_a_mark_is_left_out_for_the_mark():
    """Most of its texts are different, but they are no names."""
    cells = pa.array(["?" if i % 9 == 0 else f"{i}.5" for i in range(90)])
    column = Column("alcohol", pa.string(), reads_numbers=True)
    column.update(cells)
    assert column.reason_to_leave_out(cells) == (
        "10 of its 90 cells read '?' and the others are numbers. If that marks a missing cell, add --missing '?'"
    )


def test_marks_of_missing_cells(folder, capsys):
    """A mark counts as a class until the user says otherwise; marks in a column of numbers are pointed out."""
    rows = [["NA" if i % 5 == 0 else row[0], *row[1:4], row[4] or "?"] for i, row in enumerate(flowers())]
    write_csv("flowers.csv", rows)
    assert run("label", "flowers.csv", "--target", "species", "--out", "labeled.csv") == 1
    assert "add --missing '?'" in capsys.readouterr().err and not Path("labeled.csv").exists()
    words = ["label", "flowers.csv", "--target", "species", "--out", "labeled.csv", "--missing", "?"]
    assert run(*words) == 0
    assert "30 of its 150 cells read 'NA'" in " ".join(capsys.readouterr().err.split())
    assert run(*words, "NA", "--force") == 0
    assert "NA" not in capsys.readouterr().err
    assert {row[5] for row in read_csv("labeled.csv")[1:]} == {"setosa", "versicolor", "virginica"}


@pytest.mark.needs_files("tables/ecoli.csv")
def test_label_on_real_data(folder, data_folder, capsys):
    """Half of the labels of a table of proteins are removed, and more than two thirds are filled in right."""
    header, *rows = read_csv(data_folder / "tables" / "ecoli.csv")
    hidden = [[*row[:-1], "" if i % 2 else row[-1]] for i, row in enumerate(rows)]
    write_csv("ecoli.csv", hidden, header)
    assert run("label", "ecoli.csv", "--target", header[-1], "--out", "labeled.csv") == 0
    filled = [row[len(header)] for row in read_csv("labeled.csv")[1:]]
    right = [one == row[-1] for one, row in zip(filled, rows, strict=True)][1::2]
    assert np.mean(right) > 2 / 3
    assert "labels predicted right" in capsys.readouterr().out


# --- impute, outliers, sample ----------------------------------------------------------------------------------------


def test_impute_fills_empty_cells_only(folder, capsys):
    rows = [[*row[:4], f'"{row[4]}, or so"' if row[4] else ""] for row in flowers(140, holes=40)]
    write_csv("flowers.csv", rows)
    assert run("impute", "flowers.csv", "--out", "filled.csv") == 0
    texts = [Path(name).read_text().split("\n") for name in ("flowers.csv", "filled.csv")]
    for pair in zip(*texts, strict=True):
        cells = [text_files.split_record(line, ",") for line in pair]
        assert all(before in ("", now) for before, now in zip(*cells, strict=True))
    after = np.array(read_csv("filled.csv")[1:])
    assert (after != "").all() and {cell[-3:-2] for cell in set(after[:, :4].ravel())} <= {"", "1", *"0123456789"}
    assert all(re.fullmatch(r"\d+\.\d", cell) for cell in after[:, :4].ravel())  # as many decimals as before
    assert "Filled 50 cells:" in capsys.readouterr().out


@pytest.mark.parametrize(("delimiter", "point"), [(",", "."), (";", ",")])
def test_numbers_may_have_a_plus_sign(folder, capsys, delimiter, point):
    """They are numbers, written back as they were read."""
    rows = flowers(150, holes=60)
    for i, row in enumerate(rows):  # most cells differ: texts would be left out
        row[0] = f"{float(row[0]) - 6 + i / 1000:+.3f}".replace(".", point) if row[0] else ""
        row[1] = f"{1000 * float(row[1]) - 3000 + i:+.0f}" if row[1] else ""
        row[2:4] = [cell.replace(".", point) for cell in row[2:4]]
    write_csv("flowers.csv", rows, delimiter=delimiter)
    assert run("impute", "flowers.csv", "--out", "filled.csv") == 0
    captured = capsys.readouterr()
    assert "left out" not in captured.err and "5 columns read" in captured.out
    before, after = np.array(rows), np.array(read_csv("filled.csv", delimiter=delimiter)[1:])
    empty = before == ""
    assert (after[~empty] == before[~empty]).all() and empty[:, :3].any(axis=0).all()
    for j, form in enumerate([rf"-?\d{point}\d{{3}}", r"-?\d+", rf"\d{point}\d"]):
        assert all(re.fullmatch(form, cell) for cell in after[empty[:, j], j])
    assert run("outliers", "flowers.csv", "--out", "scored.csv") == 0


def test_integers_are_filled_with_integers_also_if_no_incomplete_row_has_one(folder):
    """The means of a column that is missing in all rows to fill have its type; outliers are explained row by row."""
    rows = [[str(i), f"{i * i % 17 / 7:.2f}"] for i in range(30, 70)]
    for row in rows[::9]:
        row[0] = ""
    rows[5][0] = "4000"
    write_csv("ages.csv", rows, header=["age", "height"])
    assert run("impute", "ages.csv", "--out", "filled.csv") == 0
    filled = [row[0] for row in read_csv("filled.csv")[1:]]
    assert all(re.fullmatch(r"\d+", cell) for cell in filled)
    assert run("outliers", "ages.csv", "--out", "scored.csv") == 0


def test_impute_writes_a_file_for_each_draw(folder):
    rows = flowers(150, holes=60)
    write_csv("flowers.csv", rows)
    assert run("impute", "flowers.csv", "--out", "filled.csv", "--draws", 3) == 0
    draws = np.array([read_csv(f"filled_{n}.csv")[1:] for n in (1, 2, 3)])
    empty = np.array(rows) == ""
    assert (draws[:, ~empty] == np.array(rows)[~empty]).all() and (draws != "").all()
    assert (draws[0] != draws[1])[empty].mean() > 0.5
    assert not Path("filled.csv").exists()


def test_a_quote_that_is_not_closed_is_an_error(folder, capsys):
    """Otherwise it swallows all further rows, and only those before it would be filled."""
    rows = [[*row[:4], "ok"] for row in flowers(holes=30)]
    rows[20][4] = '"ok'
    write_csv("unclosed.csv", rows)
    assert run("impute", "unclosed.csv", "--out", "filled.csv") == 1
    assert "goes on for 130 lines" in (error := capsys.readouterr().err) and "double quote not closed" in error
    rows[20][4] = '"o\nk, ""fine"""'
    write_csv("closed.csv", rows)
    assert run("impute", "closed.csv", "--out", "filled.csv") == 0 and len(read_csv("filled.csv")) == 151


@pytest.mark.parametrize(("point", "written"), [(".", "."), (",", ",")])
def test_new_columns_have_the_decimal_sign_of_the_file(folder, point, written):
    rows = [[cell.replace(".", point) for cell in row] for row in flowers()]
    write_csv("flowers.csv", rows, ['"a; b"', *NAMES[1:], '"the, species"'], delimiter=";")
    assert run("label", "flowers.csv", "--target", "the, species", "--out", "labeled.csv") == 0
    shares = [row[-1] for row in read_csv("labeled.csv", delimiter=";")[1:] if row[-1]]
    assert len(shares) == 120 and all(written in share for share in shares)


@pytest.mark.parametrize("unit", [1, 1000])
def test_rows_with_empty_cells_are_no_outliers_in_any_unit(folder, capsys, unit):
    """Their densities are those of fewer columns, and are compared with other rows without these."""
    rows = [[f"{float(cell) / unit:.6g}" for cell in row[:4]] for row in flowers()]
    rows[100][0] = f"{12 / unit:.6g}"
    for row in range(8):
        rows[row][:2] = "", ""
    write_csv("flowers.csv", rows, NAMES)
    assert run("outliers", "flowers.csv", "--top", "4", "--out", "scores.csv") == 0
    scores = np.array([float(row[-1]) for row in read_csv("scores.csv")[1:]])
    assert scores.argmax() == 100
    assert abs(np.median(scores[:8])) < 3 and abs(np.median(scores[8:])) < 0.5
    assert np.median(np.abs(scores[:8])) < 2 * np.median(np.abs(scores[8:])) + 1


def test_a_column_with_few_cells_does_not_hide_outliers(folder, capsys):
    rows = [[*row[:4], ""] for row in flowers()]
    rows[3][4] = rows[9][4] = "1.5"
    rows[7][0] = "95.0"
    write_csv("flowers.csv", rows)
    assert run("outliers", "flowers.csv", "--keep", "species") == 0
    found = capsys.readouterr()
    assert "All-NaN" not in found.err + found.out
    assert re.search(r"^ *8 .*sepal_length 95", found.out, re.MULTILINE)


def test_outliers_names_the_cell_that_is_wrong(folder, capsys):
    rows = flowers(150)
    rows[41][3] = "9.9"
    write_csv("flowers.csv", rows)
    assert run("outliers", "flowers.csv", "--out", "scored.csv", "--top", 3) == 0
    scores = np.array([float(row[5]) for row in read_csv("scored.csv")[1:]])
    assert scores.argmax() == 41 and abs(np.median(scores)) < 1e-3
    first, *others = re.findall(r"^  (\d+) +([\d.]+)(.*)", capsys.readouterr().out, re.MULTILINE)
    assert first[0] == "42" and first[2].strip().startswith("petal_width 9.9 (expected ") and len(others) == 2
    assert run("outliers", "flowers.csv") == 0  # nothing to write


def test_sample_resembles_the_table(folder):
    write_csv("flowers.csv", flowers(150))
    words = ["sample", "flowers.csv", "-n", 30]
    assert run(*words, "--out", "new.csv") == run(*words, "--out", "again.csv") == 0
    assert run(*words, "--out", "other.csv", "--seed", 1) == 0
    header, *rows = read_csv("new.csv")
    assert header == [*NAMES, "species"] and len(rows) == 30
    assert {row[4] for row in rows} <= {"setosa", "versicolor", "virginica"}
    assert all(re.fullmatch(r"-?\d+\.\d", cell) for row in rows for cell in row[:4])
    assert Path("new.csv").read_bytes() == Path("again.csv").read_bytes() != Path("other.csv").read_bytes()


def test_parquet_keeps_types_and_columns(folder):
    rows = flowers(holes=30)
    columns = [pa.array([float(row[j]) if row[j] else None for row in rows], pa.float32()) for j in range(4)]
    columns.append(pa.array([row[4] or None for row in rows]).dictionary_encode())
    columns.append(pa.array([i % 3 if i < 40 else None for i in range(150)], pa.int8()))
    table = pa.table(columns, names=[*NAMES, "species", "kind"]).replace_schema_metadata({"origin": "Gaspé"})
    pq.write_table(table, "flowers.parquet")
    assert run("label", "flowers.parquet", "--target", "species", "--out", "labeled.parquet") == 0
    labeled = pq.read_table("labeled.parquet")
    assert labeled.select(table.column_names).equals(table) and labeled.schema.metadata == table.schema.metadata
    assert labeled["species_filled"].null_count == 0 and labeled["species_probability"].null_count == 30
    assert run("impute", "flowers.parquet", "--out", "filled.parquet") == 0
    filled = pq.read_table("filled.parquet")
    assert filled.schema.equals(table.schema) and sum(column.null_count for column in filled.columns) == 0
    for name in table.column_names:
        observed = table[name].is_valid()
        assert filled[name].filter(observed).to_pylist() == table[name].filter(observed).to_pylist()
    assert run("label", "filled.parquet", "--target", "kind", "--out", "kinds.parquet") == 1
    assert run("label", "flowers.parquet", "--target", "kind", "--out", "kinds.parquet") == 0
    kinds = pq.read_table("kinds.parquet")["kind_filled"]
    assert kinds.type == pa.int8() and set(kinds.to_pylist()) == {0, 1, 2}
    assert run("sample", "flowers.parquet", "-n", 4, "--out", "new.parquet") == 0
    assert pq.read_table("new.parquet").num_rows == 4


def test_parquet_columns_that_cannot_be_read_are_left_out(folder, capsys):
    rows = flowers()
    table = pa.table({name: [float(row[j]) for row in rows] for j, name in enumerate(NAMES)})
    extra = {
        "lists": pa.array([[1, 2]] * 150),
        "parts": pa.array([{"a": 1}] * 150),
        "bytes": pa.array([b"x", b"y"] * 75),
        "large": pa.array([2**64 - 1, 5, 7] * 50, pa.uint64()),
        "species": pa.array([row[4] or None for row in rows]),
    }
    for name, column in extra.items():
        table = table.append_column(name, column)
    pq.write_table(table, "odd.parquet")
    assert run("impute", "odd.parquet", "--out", "filled.parquet") == 0
    found = capsys.readouterr()
    printed = found.out + found.err
    for name in ("lists", "parts", "bytes"):
        assert re.search(rf"{name}.*its type is", printed), name
    assert pq.read_table("filled.parquet")["lists"].equals(table["lists"])
    for name in ("lists", "bytes"):
        assert run("label", "odd.parquet", "--target", name, "--out", "labeled.parquet") == 1
        assert "labels must be text, numbers, or booleans" in capsys.readouterr().err


@pytest.mark.skipif(not hasattr(skdgm, "save"), reason="skdgm.save is not there")
def test_a_saved_model_labels_an_empty_column(folder, capsys):
    rows = flowers(n_labels=100)
    table = pa.table({name: [float(row[j]) for row in rows] for j, name in enumerate(NAMES)})
    pq.write_table(table.append_column("species", pa.array([row[4] or None for row in rows])), "old.parquet")
    words = ["--target", "species", "--out"]
    assert run("label", "old.parquet", *words, "one.parquet", "--save-model", "flowers.skdgm") == 0
    pq.write_table(table.append_column("species", pa.nulls(150)), "new.parquet")
    assert run("label", "new.parquet", *words, "two.parquet", "--use-model", "flowers.skdgm") == 0
    assert pq.read_table("two.parquet")["species_filled"].null_count == 0
    pq.write_table(table.append_column("species", pa.array([1, None, 3] * 50)), "numbers.parquet")
    assert run("label", "numbers.parquet", *words, "three.parquet", "--use-model", "flowers.skdgm") == 1
    assert "holds int64, but the model has the classes ['setosa'" in capsys.readouterr().err


@pytest.mark.skipif(not hasattr(skdgm, "save"), reason="skdgm.save is not there")
def test_saved_models_are_used_again(folder, capsys):
    write_csv("flowers.csv", flowers(holes=10))
    write_csv("new.csv", [row[:4] for row in flowers(seed=1)], NAMES)
    words = ["label", "flowers.csv", "--target", "species"]
    assert run(*words, "--out", "one.csv", "--save-model", "flowers.skdgm") == 0
    assert run(*words, "--out", "two.csv", "--save-model", "flowers.skdgm") == 1  # exists
    assert run(*words, "--out", "two.csv", "--use-model", "flowers.skdgm") == 0
    assert Path("one.csv").read_bytes() == Path("two.csv").read_bytes()
    assert "The model agrees with" in capsys.readouterr().out
    assert run("label", "new.csv", "--target", "species", "--out", "new_out.csv", "--use-model", "flowers.skdgm") == 0
    assert {len(row) for row in read_csv("new_out.csv")} == {6}
    assert run("impute", "flowers.csv", "--out", "filled.csv", "--use-model", "flowers.skdgm") == 0
    assert run("outliers", "flowers.csv", "--use-model", "flowers.skdgm") == 0
    assert run("sample", "-n", 5, "--out", "drawn.csv", "--use-model", "flowers.skdgm") == 0
    assert read_csv("drawn.csv")[0] == [*NAMES, "class"]
    write_csv("narrow.csv", [row[:3] for row in flowers()], NAMES[:3])
    assert run("outliers", "narrow.csv", "--use-model", "flowers.skdgm") == 1
    assert "no column 'petal_width'" in capsys.readouterr().err


@pytest.mark.skipif(not hasattr(skdgm, "save"), reason="skdgm.save is not there")
@pytest.mark.parametrize("command", ["label", "impute", "outliers", "sample"])
def test_columns_are_not_chosen_for_a_saved_model(folder, capsys, command):
    write_csv("flowers.csv", flowers(holes=10))
    assert run("label", "flowers.csv", *TARGET, "--save-model", "m.skdgm") == 0
    words = {
        "label": ["flowers.csv", "--target", "species", "--out", "new.csv"],
        "impute": ["flowers.csv", "--out", "new.csv"],
        "outliers": ["flowers.csv", "--out", "new.csv"],
        "sample": ["-n", 3, "--out", "new.csv"],
    }[command]
    before = sorted(folder.iterdir())
    for options, named in [
        (["--ignore", "sepal_width"], "--ignore"),
        (["--keep", "nowhere"], "--keep"),
        (["--ignore", "sepal_width", "--keep", "petal_width"], "--ignore and --keep"),
    ]:
        capsys.readouterr()
        assert run(command, *words, "--use-model", "m.skdgm", *options) == 1
        error = capsys.readouterr().err
        assert error.startswith("skdgm: error: the model of m.skdgm decides which columns are read")
        assert f"Leave out {named}, or train" in error
        assert sorted(folder.iterdir()) == before


# --- the page of the user guide --------------------------------------------------------------------------------------

GUIDE = Path(__file__).parent.parent / "doc" / "user_guide" / "command_line.rst"


def sessions():
    """Commands of the page, and what it shows of their output."""
    for block in re.findall(r"\.\. code-block:: console\n\n((?:    .*\n|\n)+)", GUIDE.read_text("utf8")):
        yield from re.findall(r"^    \$ (.+)\n((?:    [^$].*\n)*)", block, re.MULTILINE)


def output_of(command):
    """Output of a command of the page, with both streams in one."""
    program, *words = shlex.split(command)
    if program in ("head", "tail"):
        n = int(words[0].removeprefix("-"))
        lines = Path(words[1]).read_text().splitlines(keepends=True)
        return "".join(lines[:n] if program == "head" else lines[-n:])
    with io.StringIO() as output, redirect_stdout(output), redirect_stderr(output):
        assert program == "skdgm" and main(words) == 0
        return output.getvalue()


def words_of(text):
    """Words of an output. With another version of a library, figures and species may differ, and a bound still rise."""
    text = re.sub(r"note: \w+ reached its .*?may help\.", "", text, flags=re.DOTALL)
    figures = re.sub(r"\d[\d,.]*", "0", textwrap.dedent(text))
    return re.sub("setosa|versicolor|virginica", "species", figures).split()


def accuracy_in(text):
    return int(re.search(r"(\d+) of 30 labels predicted right", text)[1])


@pytest.mark.skipif(not hasattr(skdgm, "save"), reason="skdgm.save is not there")
def test_the_page_shows_what_the_commands_print(folder, real_fits):
    pytest.importorskip("pandas", reason="pandas is not installed: the page makes its table with it")
    examples = doctest.DocTestParser().get_examples(GUIDE.read_text("utf8"))
    exec("".join(example.source for example in examples), {})
    shown = list(sessions())
    assert len(shown) == 7
    for command, expected in shown:
        output = output_of(command)
        assert words_of(output) == words_of(expected), command
        if " label " in command:
            assert abs(accuracy_in(output) - accuracy_in(expected)) <= 2
        if " outliers " in command:
            assert re.search(r"^  100 .*sepal_width 32.0", output, re.MULTILINE)


# --- bad input -------------------------------------------------------------------------------------------------------

TARGET = ("--target", "species", "--out", "out.csv")
ROWS = [",".join(row) for row in flowers()]
HEADER = ",".join([*NAMES, "species"])


def lines(*rows):
    return "\n".join(rows) + "\n"


def species(name):
    """A table whose labels are functions of their number."""
    return lines(HEADER, *(f"{row.rsplit(',', 1)[0]},{name(i)}" for i, row in enumerate(ROWS)))


MISTAKES = {
    "no file": (None, ["label", "nowhere.csv", *TARGET], "no file nowhere.csv"),
    "folder": (None, ["label", ".", *TARGET], "only a folder"),
    "ending": ("", ["label", "in.xlsx", *TARGET], "Save the spreadsheet as CSV"),
    "empty": ("", ["label", "in.csv", *TARGET], "is empty"),
    "no rows": (HEADER, ["label", "in.csv", *TARGET], "no rows below"),
    "no header": (lines(*["1,2.5,3"] * 9), ["impute", "in.csv", "--out", "out.csv"], "has numbers (1, 2.5, 3, ...)"),
    "same name": (lines("a,a", "1,2"), ["impute", "in.csv", "--out", "out.csv"], "several columns with the name 'a'"),
    "cells": (lines(HEADER, *ROWS[:3], "1,2"), ["label", "in.csv", *TARGET], "row 4 below the header has 2 cells"),
    "not Parquet": ("a,b", ["impute", "in.parquet", "--out", "out.parquet"], "not a Parquet file"),
    "no target": (lines(HEADER, *ROWS), ["label", "in.csv", "--target", "kind", "--out", "o.csv"], "no column 'kind'"),
    "no labels": (species(lambda i: ""), ["label", "in.csv", *TARGET], "all cells of 'species' are empty"),
    "all labels": (species(lambda i: i % 2), ["label", "in.csv", *TARGET], "nothing to fill"),
    "one class": (species(lambda i: "" if i % 2 else "a"), ["label", "in.csv", *TARGET], "all labels of 'species' are"),
    "number": (species(lambda i: i / 7 if i < 99 else ""), ["label", "in.csv", *TARGET], "a number to predict"),
    "names": (species(lambda i: f"Ann{i}" if i < 99 else ""), ["label", "in.csv", *TARGET], "names or free text"),
    "infinite": (lines("a,b", *["1,1e999", "3,5"] * 9), ["outliers", "in.csv"], "column 'b' holds an infinite"),
    "no holes": (lines("a,b", *["1,2", "3,5"] * 9), ["impute", "in.csv", "--out", "out.csv"], "has no empty cell"),
    "columns": (lines("a,b", *["1,", "3,"] * 9), ["outliers", "in.csv", "--ignore", "c"], "no column 'c'"),
    "nothing": (lines("a,b", *["1,", "3,"] * 9), ["outliers", "in.csv", "--ignore", "a"], "no column that a model"),
    "encoding": (
        lines(HEADER, "1,2,3,4,né"),
        ["label", "in.csv", *TARGET, "--encoding", "ascii"],
        "--encoding latin-1",
    ),
    "codec": (lines(HEADER), ["label", "in.csv", *TARGET, "--encoding", "klingon"], "cannot be read as klingon"),
    "format": (lines(HEADER, *ROWS), ["label", "in.csv", *TARGET[:2], "--out", "o.parquet"], "should end in .csv"),
    "out folder": (lines(HEADER, *ROWS), ["label", "in.csv", *TARGET[:2], "--out", "x/o.csv"], "no folder x"),
    "taken": (lines(HEADER + "_filled", "1,2,3,4,a"), ["label", "in.csv", *TARGET], "already has a column"),
    "model": (lines(HEADER, *ROWS), ["label", "in.csv", *TARGET, "--use-model", "m.skdgm"], "no file m.skdgm"),
    "sample": (lines(HEADER, *ROWS), ["sample", "-n", "3", "--out", "out.csv"], "either a table to learn from"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_explained(folder, capsys, mistake):
    text, words, message = MISTAKES[mistake]
    if text is not None:
        Path(words[1] if "." in words[1] else "in.csv").write_text(text, "utf8")
    before = sorted(folder.iterdir())
    assert run(*words) == 1
    error = capsys.readouterr().err
    assert message in error and error.splitlines()[-1].startswith("skdgm: error: ") and "Traceback" not in error
    assert sorted(folder.iterdir()) == before


def test_help_without_a_command_and_the_version(capsys):
    assert main([]) == 0
    assert "fill the empty labels of a column" in capsys.readouterr().out
    with pytest.raises(SystemExit) as exit_:
        main(["--version"])
    assert exit_.value.code == 0 and capsys.readouterr().out == f"skdgm {skdgm.__version__}\n"


def test_wrong_arguments_exit_with_2(capsys):
    for words in [["paint"], ["label", "in.csv"]]:
        with pytest.raises(SystemExit) as exit_:
            main(words)
        assert exit_.value.code == 2
    assert "skdgm label: error: the following arguments are required: --target, --out" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["sample", "--out", "a.csv", "-n", "0"])
    assert "expected a whole number from 1, got '0'" in capsys.readouterr().err


def test_files_are_replaced_with_force_only(folder, capsys):
    write_csv("flowers.csv", flowers(holes=5))
    Path("out.csv").write_text("mine")
    words = ["impute", "flowers.csv", "--out", "out.csv"]
    assert run(*words) == 1 and Path("out.csv").read_text() == "mine"
    assert "out.csv exists. Choose another name, or replace it with --force." in capsys.readouterr().err
    assert run(*words, "--force") == 0 and Path("out.csv").read_text() != "mine"
    assert run("impute", "flowers.csv", "--out", "flowers.csv", "--force") == 0  # in place
    assert Path("flowers.csv").read_bytes() == Path("out.csv").read_bytes()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_leaves_no_half_written_file(folder, monkeypatch, capsys, number, code):
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a process in the background may ignore Ctrl-C
    write_csv("flowers.csv", flowers(9))
    Path("out.csv").write_text("mine")
    before, handlers = sorted(folder.iterdir()), [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    monkeypatch.setattr(text_files, "CELLS_PER_BLOCK", 50)
    of_block, calls = label.Labeled.of_block, []

    def interrupted(*args):
        calls.append(len(list(folder.iterdir())))
        if len(calls) == 3:
            signal.raise_signal(number)
        return of_block(*args)

    monkeypatch.setattr(label.Labeled, "of_block", interrupted)
    try:
        exit_code = run("label", "flowers.csv", *TARGET, "--force")
    except SystemExit as exit_:
        exit_code = exit_.code
    assert exit_code == code and calls == [len(before) + 1] * 3  # a temporary file was there
    assert sorted(folder.iterdir()) == before and Path("out.csv").read_text() == "mine"
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == handlers
    assert ("interrupted" in capsys.readouterr().err) == (number == signal.SIGINT)


def test_a_process_of_its_own(folder):
    """Help needs neither torch nor pyarrow, and errors reach the shell."""
    code = "import sys, skdgm.__main__ as m; m.parser(); assert not {'torch', 'numpy', 'pyarrow'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
    done = subprocess.run(
        [sys.executable, "-m", "skdgm", "label", "nowhere.csv", *TARGET], capture_output=True, text=True
    )
    assert done.returncode == 1 and not done.stdout
    assert done.stderr == "skdgm: error: there is no file nowhere.csv.\n"
    code = "import sys, skdgm.__main__ as m; sys.modules['pyarrow'] = None; sys.exit(m.main(['outliers', 'a.csv']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1 and "pip install 'skdgm[cli]'" in done.stderr and "Traceback" not in done.stderr


def test_help_fits_a_narrow_terminal(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    for words in [[], ["label"], ["impute"], ["outliers"], ["sample"]]:
        with pytest.raises(SystemExit) as exit_:
            parser().parse_args([*words, "--help"])
        assert exit_.value.code == 0
        assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


# --- parts -----------------------------------------------------------------------------------------------------------


def column_of(*parts, name="x"):
    """A column of text that comes in several blocks, and all its cells."""
    column = Column(name, pa.string(), reads_numbers=True)
    for part in parts:
        column.update(pa.array(part, pa.string()))
    return column, pa.array(sum(parts, []), pa.string())


@pytest.mark.parametrize(
    ("name", "parts", "reason"),
    [
        ("x", [[str(i) for i in range(1, 8)], [str(i) for i in range(8, 20)]], "a running number"),
        ("x", [[str(i) for i in range(40, 0, -2)]], "a running number"),
        ("x", [[str(i) for i in range(1, 8)], [str(i) for i in range(9, 20)]], ""),
        ("x", [[str(i % 7) for i in range(20)]], ""),
        ("x", [["3"] * 20], ""),
        ("x", [[f"+{i}" for i in range(1, 8)], [f"+{i}" for i in range(8, 20)]], "a running number"),
        ("x", [[f"{i * i - 99:+d}" for i in range(20)]], ""),
        ("x", [[f"{i * i / 7 - 9:+.2f}" for i in range(20)]], ""),
        ("x", [[f"+4930{i * i + 123456}" for i in range(20)]], "telephone numbers"),
        ("x", [[f"+{i * i + 1234567}.5" for i in range(20)]], ""),
        ("x", [[f"{(i * i - 99) * 12345678:+d}" for i in range(20)]], ""),
        ("patient_id", [[str(i * i) for i in range(20)]], "an identifier"),
        ("ID", [[str(i * i) for i in range(20)]], "an identifier"),
        ("paid", [[str(i * i) for i in range(20)]], ""),
        ("patient_id", [[str(i * i % 8) for i in range(20)]], ""),
        ("x", [[f"Ann {i}" for i in range(20)]], "names, identifiers or free text"),
        ("x", [[f"{i:03d}" for i in range(20)]], "names, identifiers or free text"),
        ("x", [[f"town {i % 4}" for i in range(20)]], ""),
        ("x", [["2024-01-31", "1999-12-01"] * 9], "dates and times"),
        ("x", [["31.1.2024", None], ["1/2/1999"]], "dates and times"),
        ("x", [["2024-01-31 10:15"]], "dates and times"),
        ("x", [["21.02.24", "1.3.24"] * 9], "dates and times"),
        ("x", [["21 Feb 2024", "1. March 2024"] * 9], "dates and times"),
        ("x", [["2024-02", "2024-03"] * 9], "dates and times"),
        ("x", [["11:10", "9:05:30"] * 9], "dates and times"),
        ("x", [["2024-01-31", "1999-12-01"] * 9 + ["n/a"]], "dates and times"),
        ("x", [[f"{i}.0" for i in range(20)]], "a running number"),
        ("x", [[f"{i / 4}" for i in range(20)]], ""),
        ("user_id", [[str(10**17 + 123456 * i * i) for i in range(20)]], "an identifier"),
        ("x", [[None, None]], "all its cells are empty"),
        ("x", [["a", "b", "c"]], ""),
    ],
)
def test_columns_that_a_model_cannot_use(name, parts, reason):
    column, cells = column_of(*parts, name=name)
    found = column.reason_to_leave_out(cells)
    assert found.startswith(reason) and bool(found) == bool(reason)


@pytest.mark.parametrize(
    ("cells", "type_"),
    [
        (["1", "-20", None], pa.int64()),
        (["1", "2.50", ".5", "1e-3"], pa.float64()),
        (["1", "2", "x"], pa.string()),
        (["01", "2"], pa.string()),
        (["+1", "-20", "3", None], pa.int64()),
        (["+0.13", "-2", "+.5", "+1e+3"], pa.float64()),
        (["+01", "+2"], pa.string()),
        (["+-1", "+2"], pa.string()),
        (["+", "+2"], pa.string()),
        (["nan", "1"], pa.string()),
        ([str(10**20), "1"], pa.float64()),
    ],
)
def test_types_of_text(cells, type_):
    column, _ = column_of(cells[:1], cells[1:])
    assert column.model_type == type_


def test_numbers_are_written_with_the_decimals_of_their_column():
    column, _ = column_of(["1.25", "3"], ["0.5"])
    assert column.native(pa.array([1.0, 2.6789, None])).to_pylist() == ["1.00", "2.68", None]
    column = Column("x", pa.string(), reads_numbers=True, decimal_comma=True)
    column.update(pa.array(["1,5", "2,25"]))
    assert column.is_number and column.native(pa.array([1.0])).to_pylist() == ["1,00"]
    column, _ = column_of(["1e-5"], ["0.123"])
    assert column.native(pa.array([1.234567891e-5])).to_pylist() == ["1.23457e-05"]


def test_decimals_of_a_file_that_shows_none_are_those_of_the_number():
    """A saved model fills columns that are empty, or whole by chance, in a new file."""
    for cells in ([], ["5", "12"]):
        column = Column("x", pa.string(), reads_numbers=True)
        column.update(pa.array(cells, pa.string()))
        assert column.native(pa.array([0.0051234567, 5.5, None])).to_pylist() == ["0.00512346", "5.5", None]
    column.update(pa.array(["0.25"]))
    assert column.native(pa.array([0.0051234567, -0.001])).to_pylist() == ["0.01", "0.00"]


@pytest.mark.parametrize(
    ("cells", "wanted"),
    [
        (["983", "3.229", "821", "12.345"], True),
        (["983", "3.229", "821", "12.34"], False),
        (["983", "0.229"], False),
        (["983", "3,229"], False),
        (["983", "821"], False),
    ],
)
def test_points_that_may_separate_thousands_are_told(cells, wanted):
    column = Column("x", pa.string(), reads_numbers=True, decimal_comma=True)
    column.update(pa.array(cells))
    assert column.has_thousands == wanted


def test_a_plus_sign_is_read_as_numbers_and_kept_in_text():
    read = partial(typed, name="x", decimal_comma=False)
    cells = pa.array(["+5", "-5", None])
    for type_ in (pa.int64(), pa.float64()):
        assert read(cells, type_).to_pylist() == [5, -5, None]
    for type_ in (pa.string(), pa.large_string()):
        assert read(cells, type_).to_pylist() == ["+5", "-5", None]
    assert typed(pa.array(["+1,5"]), pa.float64(), "x", decimal_comma=True).to_pylist() == [1.5]
    for text in ("++5", "+-5", "+"):
        with pytest.raises(CommandError, match="column 'x' holds int64 in the rows"):
            read(pa.array([text]), pa.int64())


def test_records_are_split_as_csv_does():
    rng = np.random.default_rng(0)
    for delimiter in ",;\t":
        for _ in range(300):
            cells = ["".join(rng.choice(list('ab" ,;\t\n'), rng.integers(5))) for _ in range(rng.integers(2, 5))]
            file = io.StringIO(newline="")
            csv.writer(file, delimiter=delimiter, quoting=int(rng.integers(2)), lineterminator="\n").writerow(cells)
            body = file.getvalue().removesuffix("\n")
            parts = text_files.split_record(body, delimiter)
            assert delimiter.join(parts) == body
            assert [next(csv.reader(io.StringIO(part, newline=""), delimiter=delimiter), []) for part in parts] == [
                [cell] if part else [] for cell, part in zip(cells, parts, strict=True)
            ]


def test_sampled_rows_are_labeled_first_and_in_order():
    sample = RowSample(limit=50, seed=0)
    labeled = np.zeros(1000, bool)
    labeled[::100] = True
    for start in range(0, 1000, 30):
        part = slice(start, start + 30)
        sample.add(pa.table({"row": np.arange(1000)[part]}), labeled[part])
    rows = sample.drawn()["row"].to_numpy()
    assert len(rows) == 50 and (np.diff(rows) > 0).all() and set(range(0, 1000, 100)) <= set(rows)
    few = RowSample(limit=50, seed=0)
    few.add(pa.table({"row": np.arange(20)}), None)
    assert few.drawn()["row"].to_pylist() == list(range(20))


def test_each_row_is_sampled_alike():
    counts = np.zeros(60)
    for seed in range(400):
        sample = RowSample(limit=20, seed=seed)
        for start in range(0, 60, 7):
            sample.add(pa.table({"row": np.arange(start, min(60, start + 7))}), None)
        counts[sample.drawn()["row"].to_numpy()] += 1
    assert abs(counts - 400 / 3).max() < 5 * np.sqrt(400 * 2 / 9)


def test_parquet_is_read_in_blocks(folder, monkeypatch):
    monkeypatch.setattr(parquet_files, "CELLS_PER_BLOCK", 10)
    pq.write_table(pa.table({"a": [1.0, float("nan"), None, 4.0, 5.0, 6.0, 7.0], "b": list("xy?zxyz")}), "in.parquet")
    blocks = list(parquet_files.ParquetTable(Path("in.parquet"), ["?"]).blocks())
    assert [(block.start, block.table.num_rows) for block in blocks] == [(0, 5), (5, 2)]
    assert blocks[0].table["a"].to_pylist() == [1.0, None, None, 4.0, 5.0]
    assert blocks[0].table["b"].to_pylist() == ["x", "y", None, "z", "x"]
