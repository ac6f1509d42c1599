"""Command line and report of a benchmark in which methods are ranked by one or more measures on several tables."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import few_labels as common  # first, because it sets one thread before numpy and torch are loaded
import pandas as pd
import torch
from _runs import finished
from few_labels import Task, by_setting, fixed, label, markdown, ranks_by_table


def key(experiment: str, method: str, setting: dict[str, Any], seed: int, version: str | None) -> dict[str, Any]:
    """The key of a run, without its metric; peers have no version."""
    setting = setting | ({"version": version} if version else {})
    return {"experiment": experiment, "method": method, "setting": setting, "seed": seed}


def package_of(package: str) -> dict[str, str]:
    """The version of another library, a fact of its runs."""
    return {"package": f"{package} {version(package)}"} if package else {}


@dataclass(frozen=True)
class Measure:
    """A measure of the report.

    Attributes
    ----------
    name, title : str
        Its metric in the results, and its name in the report.
    higher_is_better : bool or None
        None if methods are not ranked by it.
    digits : int
        Decimals in the report.
    """

    name: str
    title: str
    higher_is_better: bool | None
    digits: int = 3


@dataclass(frozen=True)
class Benchmark:
    """A benchmark.

    Attributes
    ----------
    name, title, doc : str
        Of the experiment and its script, of its page, and the script's docstring.
    index : dict
        What makes a setting, and its values in the order of the report; starts with "table".
    methods, ours : tuple of str
        All methods, in the order of the report, and those that belong to skdgm.
    n_seeds : int
        Number of splits.
    measures : tuple of Measure
        What is reported.
    tasks : callable
        Takes the command-line options; returns the runs.
    packages : dict
        The package that a method needs, besides scikit-learn and skdgm.
    sections : callable
        Takes the frame of all runs; returns more lines of the page.
    """

    name: str
    title: str
    doc: str
    index: dict[str, tuple[Any, ...]]
    methods: tuple[str, ...]
    ours: tuple[str, ...]
    n_seeds: int
    measures: tuple[Measure, ...]
    tasks: Callable[[Namespace], Iterator[Task]]
    packages: dict[str, str] = field(default_factory=dict)
    sections: Callable[[pd.DataFrame], list[str]] = lambda frame: []

    def main(self) -> None:
        """Do the requested runs that are not in the results, or report."""
        args = common.options(self.doc, self.index["table"], self.methods, self.n_seeds).parse_args()
        if args.report:
            self.report(args.results, args.doc)
            return
        common.check_version(args.version)
        torch.set_num_threads(1)
        args.methods = self.installed(args.methods)
        failed = common.run_tasks(self.tasks(args), args.results, args.n_jobs)
        if failed:
            raise SystemExit(f"{failed} runs failed; see above.")

    def installed(self, methods: list[str]) -> list[str]:
        """The methods whose package is installed; say which are left out."""
        missing = {name: self.packages[name] for name in methods if not find_spec(self.packages.get(name, "sklearn"))}
        for name, package in missing.items():
            print(f"Left out: {name}, which needs {package} (pip install {package}).")
        return [name for name in methods if name not in missing]

    def report(self, folder: Path, doc: Path) -> None:
        """Print everything, and write the page."""
        runs = finished(self.name, folder)
        if not runs:
            raise SystemExit(f"No results in {folder}.")
        text = "\n".join(self.page(self.frame_of(runs), runs))
        (doc / f"benchmarks_{self.name}.md").write_text(text + "\n")
        print(text)

    def page(self, frame: pd.DataFrame, runs: list[dict[str, Any]]) -> list[str]:
        """Lines of the page."""
        lines = [f"# {self.title}", "", f"`examples/benchmarks/{self.name}.py --report` generates this page.", ""]
        lines += [*common.protocol(self.doc), "", *self.overview(frame), "", *NOTES, *self.sections(frame)]
        for measure in self.measures:
            lines += ["", f"## {measure.title[0].upper()}{measure.title[1:]}", "", *self.details(frame, measure)]
        packages = sorted({run["facts"]["package"] for run in runs if "package" in run["facts"]})
        return [*lines, "", "## Measured with", "", *common.provenance(runs), *(f"- {package}" for package in packages)]

    def frame_of(self, runs: list[dict[str, Any]]) -> pd.DataFrame:
        """One row per run and measure, methods in their order."""
        rows = [
            {"label": label(run), "method": run["method"], "seed": run["seed"]}
            | {"seconds": run["facts"]["fit_seconds"], run["metric"]: run["value"]}
            | {name: run["setting"][name] for name in self.index}
            for run in runs
        ]
        frame = pd.DataFrame(rows, columns=list(dict.fromkeys([*rows[0], *(m.name for m in self.measures)])))
        for name, order in {**self.index, "method": self.methods}.items():
            frame[name] = pd.Categorical(frame[name], order)
        return frame.sort_values(["method", "label"], kind="stable")

    def wide(self, frame: pd.DataFrame, metric: str) -> pd.DataFrame:
        """Means over splits by setting and method, over the settings and splits that all methods have."""
        names = list(dict.fromkeys(frame["label"]))
        wide = by_setting(frame, names, metric, list(self.index))
        return wide[[name for name in names if name in wide]]

    def overview(self, frame: pd.DataFrame) -> list[str]:
        """Mean rank and mean of each method by each measure."""
        ranked = [m for m in self.measures if m.higher_is_better is not None]
        wide = {m.name: self.wide(frame, m.name) for m in self.measures}
        ranks = {m.name: ranks_by_table(wide[m.name], m.higher_is_better).mean() for m in ranked}
        means = {m.name: wide[m.name].mean() for m in self.measures}
        seconds = self.wide(frame, "seconds")
        rows = []
        for name in dict.fromkeys(frame["label"]):
            cells = [fixed(ranks[m.name].get(name)) for m in ranked]
            cells += [fixed(means[m.name].get(name), m.digits) for m in self.measures]
            cells += [fixed(seconds[name].mean()) if name in seconds else ""]
            rows.append([f"**{name}**" if name.startswith(self.ours) else name, *cells, len(seconds)])
        header = [*(f"rank, {m.title}" for m in ranked), *(m.title for m in self.measures), "seconds a fit", "settings"]
        return markdown(["method", *header], rows)

    def details(self, frame: pd.DataFrame, measure: Measure) -> list[str]:
        """Means over splits of every setting and method."""
        names = list(dict.fromkeys(frame["label"]))
        wide = frame.pivot_table(index=list(self.index), columns="label", values=measure.name, observed=True)
        places = [place if isinstance(place, tuple) else (place,) for place in wide.index]
        names = [name for name in names if name in wide]
        rows = [
            [*place, *(fixed(row[name], measure.digits) for name in names)]
            for place, (_, row) in zip(places, wide.iterrows(), strict=True)
        ]
        return markdown([*self.index, *names], rows)


NOTES = [
    "Ranks are averaged over the settings of a table, then over tables; rank 1 is the best. All methods are ranked",
    "together, over the settings and splits that all of them have; the means use the same settings and splits.",
]
