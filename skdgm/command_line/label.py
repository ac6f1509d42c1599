"""``label``: fill the empty labels of a table with the most probable class, and tell how far to trust it."""

from __future__ import annotations

import heapq
from argparse import Namespace
from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from skdgm.command_line.files import check_output, complete_file, open_table
from skdgm.command_line.messages import CommandError, aligned, counted, progress_bar
from skdgm.command_line.models import check_model_file, opened, save, training
from skdgm.command_line.rows import check_names_exist, model_schema, scan, tell_rows, typed_rows, usable_columns
from skdgm.command_line.tables import Block, TableFile
from skdgm.command_line.targets import NO_MARKER, check_labels, folds_of, labels_of, predicted_labels, tell_accuracy


def run(arguments: Namespace) -> None:
    """Fill the empty labels of a table.

    Parameters
    ----------
    arguments : Namespace
        As ``__main__`` parses them.

    Raises
    ------
    CommandError
        If the arguments do not fit the table, or its labels cannot be learned.
    """
    table = open_table(arguments.data, arguments.missing, arguments.encoding)
    out = check_output(arguments.out, force=arguments.force, like=table)
    check_model_file(arguments)
    added = [f"{arguments.target}_filled", f"{arguments.target}_probability"]
    taken = [name for name in added if name in table.names]
    if taken:
        raise CommandError(f"{table.path} already has a column {taken[0]!r}. Rename it or remove it first.")
    model, schema = reused(arguments, table) if arguments.use_model else trained(arguments, table)
    result = Labeled(arguments.target, model.classes_, arguments.top)
    type_ = type_of_labels(table, arguments.target, model.classes_)
    with complete_file(out) as temporary, progress_bar(f"writing {out.name}", table.size) as advance:
        with table.writer(temporary, [(added[0], type_), (added[1], pa.float64())]) as writer:
            for block in table.blocks(advance):
                rows = typed_rows(block.table, schema, decimal_comma=table.decimal_comma)
                columns = result.of_block(block, model.predict_proba(rows), type_)
                writer.append(block, dict(zip(added, columns, strict=True)))
    result.tell(is_reused=bool(arguments.use_model))
    print(f"Wrote {arguments.out}: all columns, {added[0]!r}, and {added[1]!r}.")


def type_of_labels(table: TableFile, target: str, classes: np.ndarray) -> pa.DataType:
    """Return the type of the target in the file; that of the classes if it has none.

    Raises
    ------
    CommandError
        If the type cannot hold the classes.
    """
    labels, type_ = pa.array(classes.tolist()), table.type_of(target)
    if type_ is None or pa.types.is_null(type_):
        return labels.type
    try:
        labels.cast(type_)
    except pa.ArrowException as error:
        raise CommandError(
            f"column {target!r} of {table.path} holds {type_}, but the model has the classes {classes.tolist()[:5]}. "
            "Rename the column, or train a model on this file."
        ) from error
    return type_


def reused(arguments: Namespace, table: TableFile) -> tuple[Any, pa.Schema]:
    """Open a saved classifier; return it with the columns that it reads."""
    model, schema = opened(arguments.use_model, table)
    if not hasattr(model, "predict_proba"):
        raise CommandError(
            f"{arguments.use_model} holds a {type(model).__name__}, which knows no classes. Train a model with label "
            "--save-model."
        )
    return model, schema


def trained(arguments: Namespace, table: TableFile) -> tuple[Any, pa.Schema]:
    """Train an M2Classifier, tell its accuracy, and save it; return it with the columns that it reads."""
    from skdgm import M2Classifier

    check_names_exist([arguments.target, *arguments.ignore, *arguments.keep], table)
    type_ = table.type_of(arguments.target)
    if pa.types.is_nested(type_) or pa.types.is_temporal(type_) or pa.types.is_binary(type_):
        raise CommandError(
            f"column {arguments.target!r} holds {type_}, but labels must be text, numbers, or booleans. Convert it."
        )
    found = scan(table, arguments.rows, arguments.seed, arguments.target)
    check_labels(found, arguments.target)
    names = usable_columns(found, [*arguments.ignore, arguments.target], arguments.keep)
    n_labeled = found.n_labeled
    tell_rows(found, len(names), f" ({n_labeled:,} labeled, {found.n_rows - n_labeled:,} not)")
    schema = model_schema(found, names)
    X = typed_rows(found.sample, schema, decimal_comma=table.decimal_comma)
    y = labels_of(found.sample[arguments.target], found.labels)
    model, n_folds = M2Classifier(random_state=arguments.seed, unlabeled_value=NO_MARKER), folds_of(y)
    with training("cross-validation", n_folds) as prepared:
        predicted = predicted_labels(prepared(model), X, y, n_folds, arguments.seed)
    tell_accuracy(y, predicted, n_folds)
    with training("training") as prepared:
        prepared(model).fit(X, y)
    save(model, arguments)
    return model, schema


class Labeled:
    """Counts what has been filled, and keeps the rows of which the model is least sure.

    Parameters
    ----------
    target : str
    classes : ndarray of shape (n_classes,)
    n_kept : int
        How many rows to list.
    """

    def __init__(self, target: str, classes: np.ndarray, n_kept: int) -> None:
        self.target, self.classes, self.n_kept = target, classes, n_kept
        self.counts: Counter[Any] = Counter()
        self.n_given = self.n_agreed = 0
        self.unsure: list[tuple[float, int, list[str]]] = []  # a heap; the surest of them first

    def of_block(self, block: Block, probabilities: np.ndarray, type_: pa.DataType) -> tuple[pa.Array, pa.Array]:
        """Return the labels of a block, given or predicted, and the probabilities of the predicted ones."""
        n_rows = block.table.num_rows
        has_target = self.target in block.table.column_names
        given = block.table[self.target].combine_chunks().cast(type_) if has_target else pa.nulls(n_rows, type_)
        best = probabilities.argmax(axis=1)
        predicted = pa.array(self.classes[best].tolist()).cast(type_)
        is_given = pc.is_valid(given).to_numpy(zero_copy_only=False)
        self.n_given += int(is_given.sum())
        self.n_agreed += int(pc.sum(pc.equal(given, predicted)).as_py() or 0)
        self.counts.update(predicted.filter(pa.array(~is_given)).to_pylist())
        for row in np.flatnonzero(~is_given):
            self._consider(block.start + int(row) + 1, probabilities[row])
        return pc.coalesce(given, predicted), pa.array(probabilities.max(axis=1), mask=is_given)

    def _consider(self, row: int, probabilities: np.ndarray) -> None:
        """Keep a row if the model is less sure of it than of one that is kept."""
        share = float(probabilities.max())
        if len(self.unsure) == self.n_kept and (not self.n_kept or -share <= self.unsure[0][0]):
            return
        order = np.argsort(-probabilities, kind="stable")[:2]
        texts = [f"{self.classes[j]} ({probabilities[j]:.2f})" for j in order]
        heapq.heappush(self.unsure, (-share, -row, [f"{row:,}", *texts]))
        if len(self.unsure) > self.n_kept:
            heapq.heappop(self.unsure)

    def tell(self, *, is_reused: bool) -> None:
        """Print the counts and the rows."""
        if is_reused and self.n_given:
            print(
                f"The model agrees with {self.n_agreed:,} of the {counted(self.n_given, 'label')} in the file. (This "
                "is no test if it was trained on them.)"
            )
        parts = ", ".join(f"{label} {count:,}" for label, count in self.counts.most_common(10))
        print(f"Labels filled: {sum(self.counts.values()):,}" + (f" ({parts})." if parts else "."))
        if self.unsure:
            rows = [texts for *_, texts in sorted(self.unsure, reverse=True)]
            print("Least sure of these rows (1 is the first below the header):")
            print(aligned([["row", "most probable", "then"], *rows]))
