"""The benchmark table: each script records its rows as JSON, and doc/benchmarks.md is built from all of them."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from skdgm.estimators._options import multiplies_bfloat16

RESULTS = Path(__file__).parent / "results"
PAGE = Path(__file__).parents[2] / "doc" / "benchmarks.md"
ORDER = ["m2_training", "vae_training", "step_products", "precision", "prediction", "classes", "rows", "small_data"]
ORDER += ["dlgm_training", "rbm_training", "label_spreading", "import_time", "grid_search"]


@dataclass
class Row:
    """One line of the table.

    Attributes
    ----------
    work, against : str
        What was done, and what it is compared with.
    ours, theirs : str
        Both measurements, with their units.
    ratio : float
        The value that the goal bounds, usually a ratio of times or rates.
    goal : str
        A bound on the ratio, such as "≥ 4×", "≤ 3×", "≤ 10 s" or "≤ 0.3 nats". Empty if there is no goal.
    quality : str
        The bound or accuracy that both reached.
    note : str
        A reason, shown if the goal is missed.
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
    """Wall time of a call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def in_turn(contestants: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Median seconds of each contestant; all run once in every round, so a slow minute affects all of them."""
    rounds = [{name: seconds(work) for name, work in contestants.items()} for _ in range(repeats)]
    return {name: statistics.median(round[name] for round in rounds) for name in contestants}


def record(script: str, rows: list[Row]) -> None:
    """Store a script's rows and rewrite the page."""
    RESULTS.mkdir(exist_ok=True)
    found = {"rows": [asdict(row) for row in rows], "machine": machine()}
    (RESULTS / f"{Path(script).stem}.json").write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    PAGE.write_text(page())
    for row in rows:
        print(line(row), flush=True)


def machine() -> dict[str, Any]:
    """The processor, system and versions that the figures were measured with."""
    names = ("torch", "scikit-learn", "numpy", "pyro-ppl", "jax", "pythae")
    return {
        "processor": processor(),
        "threads": torch.get_num_threads(),
        "bfloat16 units": multiplies_bfloat16("cpu"),
        "python": platform.python_version(),
        **{name: version(name) for name in names},
    }


def processor() -> str:
    """The name and number of the processors."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    models = [text.split(":")[1].strip() for text in lines if text.startswith("model name")]
    return f"{os.cpu_count()} × {models[0] if models else platform.processor()}"


def line(row: Row) -> str:
    """A row as Markdown."""
    unit = row.goal.lstrip("≥≤ ").lstrip("0123456789.").lstrip() or "×"
    ratio = f"{row.ratio:.3g} {unit}".replace(" ×", "×")
    reached = ("**yes**" if row.reached else "no") if row.goal else ""
    cells = [row.work, row.against, row.ours, row.theirs, ratio, row.goal, reached, row.quality]
    return "| " + " | ".join(cells) + " |"


def page() -> str:
    """The whole Markdown page."""
    found = {path.stem: json.loads(path.read_text()) for path in RESULTS.glob("*.json")}
    names = [name for name in ORDER if name in found]
    rows = [Row(**row) for name in names for row in found[name]["rows"]]
    notes = [f"- **{row.work}** ({row.against}): {row.note}" for row in rows if row.note and not row.reached]
    machines: dict[str, list[str]] = {}
    for name in names:
        facts = ", ".join(f"{key} {value}" for key, value in found[name]["machine"].items())
        machines.setdefault(facts, []).append(f"`{name}.py`")
    return "\n".join(
        [
            "# Speed",
            "",
            "Made by `make bench` (scripts: `examples/benchmarks/`). Each ratio comes from one run, the contestants in",
            "turn, medians of the rounds. Same architecture, batch and steps on both sides, and the bound or accuracy",
            "reached stands beside. Peers run with the fastest settings that their documentation names.",
            "",
            "| work | against | ours | theirs | ratio | goal | reached | quality |",
            "|---|---|---|---|---|---|---|---|",
            *map(line, rows),
            "",
            *(["## Notes", "", *notes, ""] if notes else []),
            "## Measured on",
            "",
            *(f"- {', '.join(scripts)}: {facts}" for facts, scripts in machines.items()),
            "",
        ]
    )
