"""Write the tables of doc/replication.md, and its figures of the papers' tables, from the results files.

In the page, a table stands between <!-- script --> or <!-- script argument --> and <!-- end -->: what ``table()``, or
``table(argument)``, of this script returns. All else on the page is left as it is.

    python examples/replication/report.py
"""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from _runs import RESULTS, finished
from mnist_few_labels import N_LABELED, PAPER
from mnist_fixed_nll import EVIDENCE_BOUND, REFINED
from mnist_fixed_nll import EXPERIMENT as DENSITIES
from mnist_fixed_nll import PAPER as PAPER_OF_DENSITIES

PAGE = Path(__file__).parents[2] / "doc" / "replication.md"
BLOCK = re.compile(r"(<!-- (\w+)(?: (\w+))? -->\n).*?(<!-- end -->)", re.DOTALL)
NAMES = {"KNeighborsClassifier": "1-NN on pixels", "SVC": "SVM on pixels", "TransductiveSVC": "TSVM on pixels"}
NAMES |= {"M2Classifier": "M2", "M1M2Classifier": "M1+M2"}
MEASURES = {  # of a DLGM: where its -log p is, and its marker
    "500 draws": (lambda run: run["facts"].get("nll_500_draws", run["value"]), "o"),
    "5,000 draws": (lambda run: run["value"] if run["facts"]["n_draws"] == 5000 else np.nan, "s"),
    "500 draws, refined": (lambda run: run["facts"].get("nll_refined", np.nan), "^"),
}
NAMES_OF_M1 = {"SVC": "M1+SVM", "TransductiveSVC": "M1+TSVM"}


def page(text: str) -> str:
    """The page with the tables of the present results."""
    return BLOCK.sub(lambda block: f"{block[1]}\n{table(block[2], block[3])}\n\n{block[4]}", text)


def table(script: str, argument: str | None) -> str:
    """The table of a script."""
    made = importlib.import_module(script).table
    return made(argument) if argument else made()


def draw_errors() -> None:
    """Test errors by number of labels: ours with the standard deviation over splits, and the paper's."""
    runs = finished("mnist_few_labels")
    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    for color, ((method, estimator), of_paper) in zip(plt.cm.tab10.colors, PAPER.items(), strict=False):
        found: dict[int, list[float]] = {}
        for run in runs:
            if run["method"] == method and run["setting"].get("estimator") == estimator:
                found.setdefault(run["setting"]["n_labeled"], []).append(run["value"])
        n_labeled = sorted(found)
        errors = (
            [np.mean(found[n]) for n in n_labeled],
            [np.std(found[n], ddof=1) if len(found[n]) > 1 else 0.0 for n in n_labeled],
        )
        name = NAMES_OF_M1[estimator] if estimator else NAMES[method]
        axes.errorbar(n_labeled, errors[0], errors[1], fmt="o-", color=color, capsize=3, label=name)
        if of_paper:
            axes.plot(N_LABELED, of_paper, "--", color=color, linewidth=1)
    axes.plot([], [], "k--", linewidth=1, label="the paper")
    axes.set(xscale="log", yscale="log", xlabel="labels", ylabel="test error, %")
    axes.set_xticks(N_LABELED, N_LABELED), axes.set_yticks(ticks := (2, 3, 5, 10, 20), ticks)
    axes.minorticks_off()
    axes.legend(fontsize="small", ncols=2)
    figure.savefig(RESULTS / "mnist_few_labels.png", dpi=110)
    plt.close(figure)


def draw_densities() -> None:
    """Test -log p of the DLGMs with hidden layers on fixed binarized MNIST, one dot per seed, and the paper's."""
    runs = [run for run in [*finished(DENSITIES), *finished(EVIDENCE_BOUND)] if run["value"] < 100]
    heights = {name: -height for height, name in enumerate(dict.fromkeys(run["facts"]["run"] for run in runs))}
    figure, axes = plt.subplots(figsize=(8, 4), layout="constrained")
    for color, (name, (nll, marker)) in zip(plt.cm.tab10.colors, MEASURES.items(), strict=False):
        heights_of_runs = [heights[run["facts"]["run"]] for run in runs]
        axes.scatter([nll(run) for run in runs], heights_of_runs, marker=marker, color=color, label=name)
    refined = finished(REFINED)
    heights_of_runs = [heights[run["setting"]["run"]] for run in refined]
    axes.scatter([run["value"] for run in refined], heights_of_runs, marker="v", color="C3", label="all draws, refined")
    of_paper = {name: value for name, value in PAPER_OF_DENSITIES.items() if name in heights}
    heights_of_paper = [heights[name] for name in of_paper]
    axes.scatter(list(of_paper.values()), heights_of_paper, marker="|", s=200, color="black", label="the paper")
    axes.set(xlabel="-log p of the test rows, nats", yticks=list(heights.values()), yticklabels=list(heights))
    axes.grid(axis="x", alpha=0.3)
    axes.legend(fontsize="small")
    figure.savefig(RESULTS / "mnist_fixed_nll.png", dpi=110)
    plt.close(figure)


def main() -> None:
    """Rewrite the page and draw its figures."""
    PAGE.write_text(page(PAGE.read_text()))
    draw_errors()
    draw_densities()


if __name__ == "__main__":
    main()
