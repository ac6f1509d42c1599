"""Write doc/benchmarks_gpu.md from the measurements of cuda_speed.py.

python examples/benchmarks/cuda_speed.py                        # on a GPU, with CUDA graphs
SKDGM_CUDA_GRAPHS=0 python examples/benchmarks/cuda_speed.py    # and kernel by kernel
python examples/benchmarks/cuda_page.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "cuda_speed.jsonl"
PAGE = Path(__file__).parents[2] / "doc" / "benchmarks_gpu.md"
Run = dict[str, Any]


def table(header: list[str], rows: list[list[str]]) -> list[str]:
    """Lines of a Markdown table."""
    return ["| " + " | ".join(row) + " |" for row in [header, ["---"] * len(header), *rows]]


def training(runs: list[Run]) -> list[str]:
    """Training rates with graphs and without, of the last measurement each."""
    rates: dict[tuple[str, int, str], dict[bool, Run]] = {}
    for run in runs:
        setting = run["setting"]
        if run["metric"] == "rows_per_second" and "precision" in setting:
            rates.setdefault((run["method"], setting["batch"], setting["precision"]), {})[setting["graphs"]] = run
    rows = []
    for (model, batch, precision), found in sorted(rates.items(), key=lambda item: item[0][1]):
        cells = [model, f"{batch:,}", precision]
        for graphs in (False, True):
            run = found.get(graphs)
            cells += [f"{run['value']:,.0f}", f"{run['facts']['milliseconds_per_step']:.2f}"] if run else ["", ""]
        gain = f"{found[True]['value'] / found[False]['value']:.2g}×" if len(found) == 2 else ""
        rows.append([*cells, gain])
    head = ["model", "rows per step", "precision", "kernel by kernel, rows/s", "ms per step", "graphs, rows/s"]
    return table([*head, "ms per step", "gain"], rows)


def against_pyro(runs: list[Run]) -> list[str]:
    """M2 against Pyro, with graphs."""
    rows = []
    for run in runs:
        if run["metric"] == "ratio_to_pyro" and run["setting"]["graphs"]:
            rates = [f"{run['facts'][name]:,.0f}" for name in ("rows_per_second", "pyro_rows_per_second")]
            reached = "**yes**" if run["value"] >= 10 else "no"
            setting = [f"{run['setting']['batch']:,}", run["setting"]["precision"]]
            rows.append([run["method"], *setting, *rates, f"{run['value']:.1f}×", "≥ 10×", reached])
    head = ["model", "rows per step", "precision", "rows/s", "Pyro, rows/s", "ratio", "goal", "reached"]
    return table(head, rows)


def page(runs: list[Run]) -> str:
    """The page."""
    cards = ", ".join(sorted({run["setting"]["card"] for run in runs}))
    torch = ", ".join(sorted({run["versions"]["torch"] for run in runs}))
    lines = [
        "# Speed on a GPU",
        "",
        "`examples/benchmarks/cuda_page.py` writes this page from the measurements of `cuda_speed.py` there. Models",
        "are 784-500-50 with ten classes, on random gray rows that lie on the device. A rate is rows per second of",
        f"whole epochs, as `fit` runs them, the median over epochs. Card: {cards}; PyTorch {torch}.",
        "",
        "On a GPU, a training step is recorded as a CUDA graph and launched at once. Kernel by kernel, with",
        "`SKDGM_CUDA_GRAPHS=0` or module classes of your own, a step of a small model takes as long as Python takes to",
        "launch its kernels, whatever the number of rows.",
        "",
        *training(runs),
        "",
        "The rates kernel by kernel are those of an earlier version, whose steps consisted of other kernels: compare",
        "the orders of magnitude.",
        "",
        "## M2 against Pyro",
        "",
        "Pyro's `TraceEnum_ELBO` sums over all classes, and trains in float32; its checks of arguments are off, which",
        "makes it faster. With more rows per step, the graphs were not measured against Pyro.",
        "",
        *against_pyro(runs),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page([json.loads(line) for line in RESULTS.read_text().splitlines()]))
