"""The benchmark table: each script records its rows as JSON, and all of them together make doc/benchmarks.md."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from skdgm.estimators._options import multiplies_bfloat16

RESULTS = Path(__file__).parent / "results"
PAGE = Path(__file__).parents[2] / "doc" / "benchmarks.md"
ORDER = ["m2_training", "vae_training", "step_products", "precision", "prediction", "importance_weights", "classes"]
ORDER += ["rows", "memmap", "break_even", "small_data", "dlgm_training", "rbm_training", "label_spreading"]
ORDER += ["import_time", "grid_search", "compiled_step"]


@dataclass
class Row:
    """A row of the table.

    Attributes
    ----------
    work, against : str
        What was measured, and what it is compared with.
    ours, theirs : str
        The two measurements, with their units.
    ratio : float
        The quantity that the goal refers to, usually a ratio of times or rates.
    goal : str
        A limit for ``ratio``, such as "≥ 4×", "≤ 3×", "≤ 10 s", or "≤ 0.3 nats". Empty if there is no goal.
    quality : str
        The bound or accuracy that each side reached.
    note : str
        The reason for a missed goal. The page shows it only if the goal is missed.
    """

    work: str
    against: str
    ours: str
    theirs: str
    ratio: float
    goal: str
    quality: str = ""
    note: str = ""

    @property
    def reached(self) -> bool:
        """Whether the ratio meets the goal; True without a goal."""
        if not self.goal:
            return True
        sign, bound = self.goal[0], float(self.goal[1:].strip("× abcdefghijklmnopqrstuvwxyz"))
        return self.ratio >= bound if sign == "≥" else self.ratio <= bound


def seconds(work: Callable[[], Any]) -> float:
    """Return the wall-clock time of a call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def in_turn(contestants: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Return the median seconds of each contestant. All run once per round, so a slow minute affects all of them."""
    rounds = [{name: seconds(work) for name, work in contestants.items()} for _ in range(repeats)]
    return {name: statistics.median(round[name] for round in rounds) for name in contestants}


def record(script: str, rows: list[Row]) -> None:
    """Save the rows of a script and rewrite the page."""
    RESULTS.mkdir(exist_ok=True)
    found = {"rows": [asdict(row) for row in rows], "machine": machine()}
    (RESULTS / f"{Path(script).stem}.json").write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    PAGE.write_text(page())
    for row in rows:
        print(line(row), flush=True)


def machine() -> dict[str, Any]:
    """Describe the machine and the versions that the numbers were measured with."""
    names = ("torch", "scikit-learn", "numpy", "pyro-ppl", "jax", "pythae")
    return {
        "processor": processor(),
        "threads": torch.get_num_threads(),
        "bfloat16 units": multiplies_bfloat16("cpu"),
        "python": platform.python_version(),
        **{name: installed(name) for name in names},
    }


def installed(name: str) -> str | None:
    """Return the version of a package; None if it is missing, as the packages of some benchmarks may be."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def processor() -> str:
    """Return the number and the name of the processors."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    models = [text.split(":")[1].strip() for text in lines if text.startswith("model name")]
    return f"{os.cpu_count()} × {models[0] if models else platform.processor()}"


def line(row: Row) -> str:
    """Format a row in Markdown."""
    unit = row.goal.lstrip("≥≤ ").lstrip("0123456789.").lstrip() or "×"
    ratio = f"{row.ratio:.3g} {unit}".replace(" ×", "×")
    reached = ("**yes**" if row.reached else "no") if row.goal else ""
    cells = [row.work, row.against, row.ours, row.theirs, ratio, row.goal, reached, row.quality]
    return "| " + " | ".join(cells) + " |"


def against(row: Row) -> str:
    """Name what a row is compared with, in parentheses."""
    return f" ({row.against})" if row.against else ""


def page() -> str:
    """Return the whole page in Markdown."""
    found = {path.stem: json.loads(path.read_text()) for path in RESULTS.glob("*.json")}
    names = [name for name in ORDER if name in found]
    rows = [Row(**row) for name in names for row in found[name]["rows"]]
    notes = [f"- **{row.work}**{against(row)}: {row.note}" for row in rows if row.note and not row.reached]
    machines: dict[str, list[str]] = {}
    for name in names:
        facts = ", ".join(f"{key} {value}" for key, value in found[name]["machine"].items())
        machines.setdefault(facts, []).append(f"`{name}.py`")
    return "\n".join(
        [
            "# Speed",
            "",
            "`make bench` generates this page (scripts: `examples/benchmarks/`). Each ratio comes from a single run:",
            "the contestants take turns, and times are medians over the rounds. Both sides use the same architecture,",
            "batch size, and number of steps; the last column gives the bound or accuracy that they reached. The other",
            "libraries run with the fastest settings that their documentation names.",
            "",
            "| work | against | ours | theirs | ratio | goal | reached | quality |",
            "|---|---|---|---|---|---|---|---|",
            *map(line, rows),
            "",
            *(["## Why goals were missed", "", *notes, ""] if notes else []),
            "## Measured on",
            "",
            *(f"- {', '.join(scripts)}: {facts}" for facts, scripts in machines.items()),
            "",
        ]
    )
