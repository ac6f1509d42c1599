"""Resumable experiments: one JSON object per finished run, and a run that is in the file is not run again."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

RESULTS = Path(__file__).parent / "results"
CACHE = Path(__file__).parent / "cache"  # fitted models shared by runs; not under version control
KEY = ("experiment", "method", "setting", "seed", "metric")


def finished(experiment: str) -> list[dict[str, Any]]:
    """All runs of an experiment that are in its file."""
    path = RESULTS / f"{experiment}.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def run_once(key: dict[str, Any], params: dict[str, Any], work: Callable[[], tuple[float, dict[str, Any]]]) -> None:
    """Do ``work`` unless its run is in the file, and append what it gives: the value, and facts worth keeping."""
    if any(all(run[name] == key[name] for name in KEY) for run in finished(key["experiment"])):
        print("already there:", key)
        return
    start = time.perf_counter()
    value, facts = work()
    record = key | {
        "value": value,
        "seconds": round(time.perf_counter() - start, 1),
        "threads": torch.get_num_threads(),
        "params": params,
        "facts": facts,
        "versions": {name: version(name) for name in ("scikit-learn", "torch", "numpy")},
    }
    RESULTS.mkdir(exist_ok=True)
    with open(RESULTS / f"{key['experiment']}.jsonl", "a") as file:
        file.write(json.dumps(record) + "\n")
    print(json.dumps(record), flush=True)
