"""Whether torch.compile pays: the forward and backward pass of a step of M2 at the size of digits, compiled or not.

The step is that of M2Classifier: 100 unlabeled rows, summed over ten classes, and 50 labeled ones, in one pass. Times
are processor times, the best of several rounds in turn; the last column says after how many steps the compilation,
without a cache on disk, has paid. It needs a C++ compiler.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch._inductor.config
from _table import Row, record
from torch import Tensor

from skdgm.models.m2 import M2Module

COLUMNS, UNITS, LATENT, CLASSES, UNLABELED, LABELED = 64, 200, 10, 10, 100, 50
STEPS, ROUNDS, ALPHA = 50, 5, 10.0


class Batch(NamedTuple):
    """Rows of a step."""

    x: Tensor
    y: Tensor
    observed: None = None


def batch(n_rows: int) -> Batch:
    """Random rows."""
    return Batch(torch.rand(n_rows, COLUMNS), torch.randint(CLASSES, (n_rows,)))


def milliseconds(work: Callable[[], None]) -> float:
    """Processor time per call."""
    start = time.process_time()
    for _ in range(STEPS):
        work()
    return 1e3 * (time.process_time() - start) / STEPS


def main() -> None:
    """Time the step, its compilation, and the compiled step."""
    rng = torch.Generator().manual_seed(0)
    module = M2Module(COLUMNS, LATENT, (UNITS,), "relu", "gaussian", [1 / CLASSES] * CLASSES, rng, linear_skip=True)
    unlabeled, labeled = batch(UNLABELED), batch(LABELED)

    def loss(unlabeled: Batch, labeled: Batch) -> Tensor:
        of_unlabeled, of_labeled, log_q_y = module.joint_bounds(unlabeled, labeled, labeled, None)
        return -(of_unlabeled.total().mean() + of_labeled.total().mean() + ALPHA * log_q_y.mean())

    torch._inductor.config.force_disable_caches = True
    compiled = torch.compile(loss)
    start = time.perf_counter()
    compiled(unlabeled, labeled).backward()
    compilation = time.perf_counter() - start
    sides = {
        "eager": lambda: loss(unlabeled, labeled).backward(),
        "compiled": lambda: compiled(unlabeled, labeled).backward(),
    }
    rounds = [{name: milliseconds(side) for name, side in sides.items()} for _ in range(1 + ROUNDS)][1:]
    best = {name: min(taken[name] for taken in rounds) for name in sides}
    saved = best["eager"] - best["compiled"]
    pays = f"which pays after {1e3 * compilation / saved:,.0f} steps" if saved > 0 else "which never pays"
    quality = f"compilation takes {compilation:.0f} s, {pays}; fits do not compile"
    figures = (f"{best[name]:.2f} ms" for name in ("compiled", "eager"))
    work = f"M2 {COLUMNS}-{UNITS}-{LATENT}, forward and backward pass of a step, `torch.compile`"
    record(__file__, [Row(work, "not compiled", *figures, best["eager"] / best["compiled"], "", quality)])


if __name__ == "__main__":
    main()
