"""Measure steps of training by 1, 2, and 4 processes, the exchange of gradients, and reads of memmaps.

Every finished run is a line of ``results.jsonl``, and is not repeated. A step's seconds are medians over steps of wall
time, and of the processor time of the busiest process: on a machine with other work, the second is the fair one.

    python measure.py [folder for large temporary tables]
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import warnings
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
import torch.distributed as dist

from skdgm import VAE, M2Classifier, distributed, training
from skdgm.distributed import _sums
from skdgm.estimators import _streams

RESULTS = Path(__file__).with_name("results.jsonl")
N_STEPS, N_WARM_UP, BATCH = 14, 3, 1000
REPEATS = range(3)
ALL_REDUCE_SIZES = [1, 1 << 10, 1 << 14, 1 << 17, 1 << 20, 1 << 22, 1 << 24]


def settings() -> list[dict]:
    """All runs; those that are compared with each other take turns."""
    steps = [
        {"what": "step", "model": model, "n_processes": n, "rows_per_step": rows_per_step, "repeat": repeat}
        for repeat in REPEATS
        for model in ("VAE", "M2")
        for n, rows_per_step in ((1, BATCH), (2, BATCH), (2, 2 * BATCH), (4, BATCH), (4, 4 * BATCH))
    ]
    reads = [
        {"what": "rows", "n_rows": 10**power, "n_processes": n, "repeat": 0} for power in (4, 5, 6, 7) for n in (1, 2)
    ]
    sums = [{"what": "all-reduce", "n_processes": n, "repeat": 0} for n in (2, 4)]
    return [*steps, *sums, *reads]


# --- one run, in each of its processes --------------------------------------------------------------------------------


class Clock:
    """Wall and processor seconds of each step, and the part of the wall time that the exchange of gradients takes."""

    def __init__(self) -> None:
        self.wall, self.processor, self.exchange = [], [], []

    def steps(self, batches):
        """Yield batches, and take the time from one to the next."""
        for batch in islice(batches, N_STEPS):
            start = time.perf_counter(), time.process_time()
            yield batch
            self.wall.append(time.perf_counter() - start[0])
            self.processor.append(time.process_time() - start[1])

    def reduced(self, reduce_gradient):
        """Time the exchange of gradients."""

        def timed(gradient):
            start = time.perf_counter()
            reduce_gradient(gradient)
            self.exchange.append(time.perf_counter() - start)

        return timed

    def medians(self) -> dict[str, float]:
        found = {"wall": self.wall, "processor": self.processor, "exchange": self.exchange}
        return {name: float(np.median(seconds[N_WARM_UP:])) for name, seconds in found.items()}


def timed_fit(estimator, *arrays) -> dict[str, float]:
    """Fit for ``N_STEPS`` steps; return seconds of a step, and of what precedes training."""
    clock, iterate, start = Clock(), training.iterate_batches, time.perf_counter()
    begun = []

    def batches(*args):
        begun.append(time.perf_counter() - start)
        return clock.steps(iterate(*args))

    training.iterate_batches, training.reduce_gradient = batches, clock.reduced(_sums.reduce_gradient)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        estimator.fit(*arrays)
    return clock.medians() | {"before_training": begun[0]}


def step(model: str, rows_per_step: int, **_) -> dict[str, float]:
    """A step of networks of 784, 500, and 50 units."""
    rng = np.random.default_rng(0)
    X = (rng.random((10_000, 784), np.float32) < 0.3).astype(np.float32)
    y = np.where(np.arange(len(X)) % 10, -1, rng.integers(0, 10, len(X)))
    n_epochs = 2 * rows_per_step // BATCH
    options = {"hidden_layer_sizes": (500,), "batch_size": rows_per_step, "max_iter": n_epochs, "random_state": 0}
    own = distributed.shard(len(X))
    if model == "VAE":
        return timed_fit(VAE(50, **options), X[own])
    return timed_fit(M2Classifier(50, alpha=0.1, **options), X[own], y[own])


def rows(n_rows: int, folder: str, **_) -> dict[str, float]:
    """A step of a small VAE on a memmap of 64 columns, of which each process reads its shard in blocks."""
    _streams.RESIDENT_BYTES = 0
    X = np.memmap(Path(folder) / "X.dat", np.float32, "r", shape=(n_rows, 64))[distributed.shard(n_rows)]
    return timed_fit(VAE(10, hidden_layer_sizes=(200,), batch_size=BATCH, max_iter=1, random_state=0), X)


def all_reduce(**_) -> dict[str, float]:
    """Seconds of sums of vectors of float32."""
    dist.init_process_group("gloo")
    found = {}
    for size in ALL_REDUCE_SIZES:
        vector, seconds = torch.ones(size), []
        for _ in range(20):
            start = time.perf_counter()
            dist.all_reduce(vector)
            seconds.append(time.perf_counter() - start)
        found[str(4 * size)] = float(np.median(seconds[5:]))
    dist.destroy_process_group()
    return found


RUNS = {"step": step, "rows": rows, "all-reduce": all_reduce}


def in_process(setting: dict) -> None:
    """Do one run, and print what the process found."""
    torch.set_num_threads(1)
    found = RUNS[setting["what"]](**setting)
    (Path(setting["folder"]) / f"{os.environ.get('RANK', '0')}.json").write_text(json.dumps(found))


# --- all runs ---------------------------------------------------------------------------------------------------------


def launched(setting: dict, folder: Path) -> dict[str, float]:
    """Do one run with its processes; return the largest of the numbers that these found."""
    n = setting["n_processes"]
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={n}"] if n > 1 else []
    argument = json.dumps(setting | {"folder": str(folder)})
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, *torchrun, __file__, argument], env=environment, check=True)
    found = [json.loads((folder / f"{rank}.json").read_text()) for rank in range(n)]
    return {name: max(one[name] for one in found) for name in found[0]}


def with_table(setting: dict, folder: Path) -> None:
    """Write the table of a run that reads one, unless it is there."""
    path, size = folder / "X.dat", setting.get("n_rows", 0) * 64 * 4
    if size and (not path.exists() or path.stat().st_size != size):
        block = np.random.default_rng(0).standard_normal((10_000, 64)).astype(np.float32).tobytes()
        with path.open("wb") as file:
            for _ in range(setting["n_rows"] // 10_000):
                file.write(block)


def main(folder: Path) -> None:
    done = [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.exists() else []
    known = [run["setting"] for run in done]
    for setting in settings():
        if setting in known:
            continue
        with_table(setting, folder)
        found = launched(setting, folder)
        load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
        run = {"experiment": "scaling", "setting": setting, "value": found, "load": load, "threads": 1}
        with RESULTS.open("a") as file:
            file.write(json.dumps(run | {"versions": {"torch": torch.__version__}}) + "\n")
        print(json.dumps(run), flush=True)


if __name__ == "__main__":
    if sys.argv[1:] and sys.argv[1].startswith("{"):
        in_process(json.loads(sys.argv[1]))
    elif sys.argv[1:]:
        main(Path(sys.argv[1]))
    else:
        with TemporaryDirectory() as name:
            main(Path(name))
