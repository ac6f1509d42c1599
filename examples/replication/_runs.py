"""Resumable experiments: one JSON object per finished run; runs that are in the file are skipped."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterable
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch

RESULTS = Path(__file__).parent / "results"
CACHE = Path(__file__).parent / "cache"  # fitted models shared by runs; not under version control
KEY = ("experiment", "method", "setting", "seed", "metric")

_READ: dict[Path, tuple[int, set[str]]] = {}  # number of bytes read from a file, and the runs found in them


def finished(experiment: str, folder: Path = RESULTS) -> list[dict[str, Any]]:
    """All runs of an experiment that are in its file."""
    path = folder / f"{experiment}.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def is_finished(key: dict[str, Any], folder: Path = RESULTS) -> bool:
    """Whether a run is in its file; only what is new since the last call is read."""
    path = folder / f"{key['experiment']}.jsonl"
    size = path.stat().st_size if path.exists() else 0
    offset, names = _READ.get(path, (0, set()))
    if size < offset:  # the file was replaced
        offset, names = 0, set()
    if size > offset:
        with open(path, "rb") as file:
            file.seek(offset)
            lines = file.read()
        lines = lines[: lines.rfind(b"\n") + 1]
        names.update(_name(json.loads(line)) for line in lines.splitlines())
        _READ[path] = (offset + len(lines), names)
    return _name(key) in names


def _name(run: dict[str, Any]) -> str:
    return json.dumps([run[part] for part in KEY], sort_keys=True)


def append(
    key: dict[str, Any],
    params: dict[str, Any],
    value: float,
    facts: dict[str, Any],
    seconds: float,
    folder: Path = RESULTS,
) -> dict[str, Any]:
    """Write a finished run into the file of its experiment."""
    record = key | {
        "value": value,
        "seconds": round(seconds, 1),
        "threads": torch.get_num_threads(),
        "params": params,
        "facts": facts,
        "versions": {name: version(name) for name in ("scikit-learn", "torch", "numpy")},
    }
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / f"{key['experiment']}.jsonl", "a") as file:
        file.write(json.dumps(record) + "\n")
    return record


def run_once(
    key: dict[str, Any],
    params: dict[str, Any],
    work: Callable[[], tuple[float, dict[str, Any]]],
    folder: Path = RESULTS,
) -> None:
    """Do ``work`` unless its run is in the file, and append its result: the value, and facts to keep."""
    if is_finished(key, folder):
        print("already there:", key)
        return
    start = time.perf_counter()
    value, facts = work()
    record = append(key, params, value, facts, time.perf_counter() - start, folder)
    print(json.dumps(record), flush=True)


def mean_and_sd(values: list[float]) -> str:
    """Mean ± sample standard deviation over runs."""
    return f"{np.mean(values):.2f}" + (f" ± {np.std(values, ddof=1):.2f}" if len(values) > 1 else "")


def markdown(header: list[str], rows: Iterable[list[Any]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(header) + " |", "|---" * len(header) + "|"]
    return "\n".join(lines + ["| " + " | ".join(map(str, cells)) + " |" for cells in rows])


def requested_changes(doc: str | None, changes: Iterable[str], seeds: list[int]) -> list[tuple[int, str]]:
    """The (seed, change) that the command line of a script asks for; none with ``--table``."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--changes", nargs="+", choices=list(changes), default=list(changes))
    parser.add_argument("--seeds", nargs="+", type=int, default=seeds)
    parser.add_argument("--table", action="store_true", help="print the table of the finished runs, nothing else")
    arguments = parser.parse_args()
    return [] if arguments.table else list(product(arguments.seeds, arguments.changes))
