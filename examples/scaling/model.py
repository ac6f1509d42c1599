"""Predict the time and the cost of a pass over many rows by many processes, and write doc/scaling.md.

    python model.py > ../../doc/scaling.md

A step is products, memory traffic, launches of kernels, an exchange of gradients by alpha and beta, and the reading of
rows, which goes on meanwhile. On processors, all of this is fitted to the runs of measure.py; GPUs are assumptions.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

RESULTS = Path(__file__).with_name("results.jsonl")
N_ROWS, N_COLUMNS, HIDDEN, LATENT = 10**9, 784, 500, 50


# --- the model --------------------------------------------------------------------------------------------------------


def n_weights() -> int:
    """Weights of a VAE of 784, 500, and 50 units: two networks, and an affine map beside each."""
    encoder = N_COLUMNS * HIDDEN + HIDDEN * 2 * LATENT + N_COLUMNS * 2 * LATENT
    return encoder + LATENT * HIDDEN + HIDDEN * N_COLUMNS + LATENT * N_COLUMNS


def all_reduce_seconds(n: int, n_bytes: float, alpha: float, beta: float) -> float:
    """Seconds of a sum over n processes in a ring: 2 (n - 1) messages of n_bytes / n each."""
    return 2 * (n - 1) * (alpha + beta * n_bytes / n)


@dataclass(frozen=True)
class Machine:
    """Assumed numbers of a GPU and what connects it; those that are no published peak are marked in the page."""

    flops: float = 989e12  # H100 SXM, dense bfloat16
    efficiency: float = 0.3  # assumed share of the peak in products of these sizes
    memory: float = 3.35e12  # bytes per second
    launch: float = 1.5e-3  # assumed seconds of about 300 kernels of 5 microseconds
    read: float = 1.25e9  # assumed bytes per second from disk for each GPU: 10 GB/s for a machine of 8
    dollars_per_hour: float = 2.5  # assumed
    n_per_machine: int = 8

    def compute_seconds(self, rows: int) -> float:
        """Forward and backward of ``rows`` rows, and Adam with the average of weights."""
        products = 3 * 2 * n_weights() * rows / (self.flops * self.efficiency)
        cells = rows * (12 * N_COLUMNS + 12 * HIDDEN + 20 * LATENT) + 16 * n_weights()
        return max(self.launch, products + 4 * cells / self.memory)

    def read_seconds(self, rows: int, bytes_per_cell: int = 4) -> float:
        """Reading of the rows of a step."""
        return rows * N_COLUMNS * bytes_per_cell / self.read


LINKS = {  # seconds of latency (assumed), and published bytes per second in one direction
    "NVLink": (5e-6, 450e9),
    "PCIe 5.0 x16": (10e-6, 64e9),
    "Ethernet, 400 Gbit/s": (30e-6, 50e9),
    "Ethernet, 100 Gbit/s": (30e-6, 12.5e9),
}


def predicted(n: int, rows_per_gpu: int, link: str, machine: Machine) -> dict[str, float]:
    """Seconds of a step and its parts, and hours and dollars of a pass over all rows."""
    alpha, bandwidth = LINKS[link]
    exchange = all_reduce_seconds(n, 4 * n_weights(), alpha, 1 / bandwidth)
    compute, read = machine.compute_seconds(rows_per_gpu), machine.read_seconds(rows_per_gpu)
    step = max(compute + exchange, read)
    hours = N_ROWS / (n * rows_per_gpu) * step / 3600
    return {
        "compute": compute,
        "exchange": exchange,
        "read": read,
        "rows_per_second": n * rows_per_gpu / step,
        "hours": hours,
        "dollars": hours * n * machine.dollars_per_hour,
    }


# --- what was measured ------------------------------------------------------------------------------------------------


def runs(what: str) -> list[dict]:
    found = [json.loads(line) for line in RESULTS.read_text().splitlines()]
    return [run["setting"] | run["value"] | {"load": run["load"]} for run in found if run["setting"]["what"] == what]


def measured_steps() -> dict[tuple[str, int, int], dict[str, float]]:
    """Medians over the repeats, by model, number of processes, and rows of a step."""
    groups: dict = {}
    for run in runs("step"):
        groups.setdefault((run["model"], run["n_processes"], run["rows_per_step"]), []).append(run)
    return {
        key: {name: median(run[name] for run in of_one) for name in ("wall", "processor", "exchange", "load")}
        for key, of_one in groups.items()
    }


def alpha_and_beta() -> dict[int, tuple[float, float]]:
    """Seconds per message and per byte of gloo on one machine, by least squares, for each number of processes."""
    found = {}
    for run in runs("all-reduce"):
        n = run["n_processes"]
        sizes = np.array([float(size) for size in run if size.isdigit()])
        seconds = np.array([run[str(int(size))] for size in sizes])
        scale = np.stack([np.full(len(sizes), 2.0 * (n - 1)), 2 * (n - 1) * sizes / n], 1)
        weight = 1 / seconds  # relative errors
        solution, *_ = np.linalg.lstsq(scale * weight[:, None], seconds * weight, rcond=None)
        found[n] = tuple(np.maximum(solution, 0).tolist())
    return found


# --- the page ---------------------------------------------------------------------------------------------------------


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def fitted(steps: dict[tuple[str, int, int], dict[str, float]], model: str) -> np.ndarray:
    """Least-squares fit of the processor seconds of a step: so many per row, for each step, and for a sum."""
    keys = [key for key in steps if key[0] == model]
    parts = np.array([parts_of(n, size) for _, n, size in keys])
    seconds = np.array([steps[key]["processor"] for key in keys])
    return np.linalg.lstsq(parts / seconds[:, None], np.ones(len(keys)), rcond=None)[0]  # relative errors


def parts_of(n: int, size: int) -> list[float]:
    """What the parts of a step's time are proportional to: rows of a process, 1, and the numbers that it sends."""
    return [size / n, 1.0, 2 * (n - 1) / n]


def table_of_steps() -> str:
    rows = []
    steps = measured_steps()
    of_models = {model: fitted(steps, model) for model in {key[0] for key in steps}}
    for (model, n, size), found in sorted(steps.items(), key=lambda item: (item[0][0] == "M2", item[0][1:])):
        one = steps[model, 1, 1000]
        ratios = [size / 1000 * one[name] / found[name] for name in ("wall", "processor")]
        seconds = [f"{1e3 * found[name]:.1f}" for name in ("wall", "processor", "exchange")]
        seconds.insert(2, f"{1e3 * np.dot(of_models[model], parts_of(n, size)):.1f}")
        rows.append(
            [model, str(n), f"{size:,}", *seconds, *(f"{ratio:.2f}" for ratio in ratios), f"{found['load']:.1f}"]
        )
    head = ["model", "processes", "rows per step", "wall, ms", "processor, ms", "fitted, ms", "exchange, ms"]
    return table([*head, "speedup, wall", "speedup, processor", "load"], rows)


def table_of_rows() -> str:
    rows = []
    for run in runs("rows"):
        begun = f"{run['before_training']:.1f}"
        values = [f"{1e3 * run['wall']:.1f}", f"{1e3 * run['processor']:.1f}", begun]
        rows.append([f"{run['n_rows']:,}", str(run["n_processes"]), *values])
    return table(["rows", "processes", "step, wall, ms", "step, processor, ms", "before training, s"], rows)


def table_of_sums() -> str:
    rows = []
    for n, (alpha, beta) in alpha_and_beta().items():
        whole = all_reduce_seconds(n, 4 * n_weights(), alpha, beta)
        rows.append([str(n), f"{1e6 * alpha:.0f}", f"{1e-9 / beta:.2f}", f"{1e3 * whole:.1f}"])
    return table(["processes", "alpha, µs", "1 / beta, GB/s", f"{4e-6 * n_weights():.1f} MB, ms"], rows)


def table_of_predictions(rows_per_gpu: int, machine: Machine) -> str:
    rows = []
    for n in (1, 2, 4, 8, 16, 32, 64):
        inside, between = list(LINKS)[:2], list(LINKS)[2:]
        for link in inside[:1] if n == 1 else inside if n <= machine.n_per_machine else between:
            found = predicted(n, rows_per_gpu, link, machine)
            parts = [f"{1e3 * found[name]:.2f}" for name in ("compute", "exchange", "read")]
            totals = [f"{found['rows_per_second'] / 1e6:.1f}", f"{60 * found['hours']:.1f}", f"{found['dollars']:.2f}"]
            rows.append([str(n), link if n > 1 else "", *parts, *totals])
    head = ["GPUs", "link", "compute, ms", "exchange, ms", "read, ms", "million rows/s", "minutes per pass", "dollars"]
    return table(head, rows)


PAGE = """# Scaling

`examples/scaling/measure.py` measured, and `examples/scaling/model.py` generates this page.
[One fit by several processes](user_guide/data_parallel.rst) says how to do it.

## Measured

Two cores that other work shared, one thread for each process, gloo on one machine, float32. Networks have 784 columns,
500 hidden units, and 50 codes, {n_weights:,} weights in the VAE; M2 has 10 classes. Each line is the median over
repeats of the median over steps. *Wall* is what a clock showed, and depends on what else ran (*load*: processes that
wanted a core). *Processor* is the processor time of the busiest process, the exchange of gradients included: about what
the wall time would be on cores of their own. *Fitted* is the model of it: so much for each row, for each step, and for
each sum, 2 (n − 1) / n times the weights. *Exchange* is wall time, and includes the wait for the other processes. The
speedup is that of rows per second against one process with 1,000 rows per step. The wall times of 4 processes are
those of two cores.

{steps}

The exchange does not shrink with the number of processes, and neither does Adam: with 1,000 rows per step in total, two
processes of the VAE have 500 rows each, too few to hide them; with 1,000 rows each they have enough. M2 computes ten
classes for each row and hides them with either. Sums are not overlapped with the backward pass: on processors, gloo
would take the cores that compute it.

Sums of gloo on one machine, as alpha + beta × bytes for each of the 2 (n − 1) messages of a ring:

{sums}

The fit of the VAE has {per_row:.0f} µs per row, which is {gflops:.0f} GFLOP/s in the products of both passes, and
{per_step:.1f} ms per step that do not depend on rows, for Adam, the average of the weights, and calls.

Tables in a memmap of 64 columns, read in blocks, with 1,000 rows per step; *before training* includes one read of
all rows, from which columns are described. From 10^6 rows on, a thread reads the next 262,144 rows while the few steps
that were timed are run; over a whole pass, that time is spread over 262 steps:

{rows}

## Model

For 10^9 rows of 784 columns, one pass. Nothing in this section was measured. Assumed are the published peaks of an
H100 SXM (989 TFLOP/s in bfloat16, 3.35 TB/s of memory), of which products reach 30 %; 1.5 ms to launch the kernels of a
step; links of 450 GB/s (NVLink), 64 GB/s (PCIe 5.0 x16), 50 and 12.5 GB/s (Ethernet of 400 and 100 Gbit/s), with 5 to
30 µs per message; disks that give 1.25 GB/s to each GPU; and 2.50 dollars per GPU and hour. Reading goes on during
the step, so a step takes the longer of both.

{predictions}

With 8,192 rows per GPU and step, launches, not products, fill the step of such a small network, and the disk decides:
float32 rows take 3.1 kB each. In a file of `uint8`, binary rows take a quarter: one pass then takes {bytes_minutes:.1f}
minutes on one GPU, and {bytes_dollars:.2f} dollars. A fit takes some tens of passes over 10^6 rows, but few over 10^9,
whose {n_steps:,} steps of one GPU are more than the defaults plan for a whole fit (20,000).

## What breaks first, and the cure

1. **The disk**, from one GPU on. Store binary columns as `uint8` and others as `float16`, or copy each shard to a
   disk of the machine that reads it.
2. **What every process knows of all rows.** Labels take 8 bytes per row in memory and 8 on the device, and the split
   of held-out rows about 24 more while it is drawn: {labels:.0f} GB in each process at 10^9 rows. It is small at 10^7.
   Cure: labels as a list of the labeled rows, and a split that each process draws for its shard; neither is built.
3. **Validation.** A tenth of 10^9 rows is held out and read after every epoch. `validation_fraction=1e-4` is enough:
   bounds of rows that differ by 30 nats give the mean of 100,000 rows a standard error of 0.1.
4. **Steps.** 64 GPUs with 8,192 rows each make {steps_64:,.0f} steps of a pass, too few for Adam at the default
   rates. Fewer rows per GPU make the launches dominate; a network of this size has no use for more than
   about 8 GPUs. Larger networks do.
5. **The exchange** takes longer than the products from 16 to 32 GPUs on, at 100 and at 400 Gbit/s alike: by then it
   consists of latency, which trees of messages would lower.
6. **Checkpoints never**: weights, two moments, the average, and the best weights take {checkpoint:.0f} MB, whatever the
   number of rows.
"""


def page() -> str:
    slow, fast = Machine(), Machine(read=4 * Machine.read)
    vae = fitted(measured_steps(), "VAE")
    return PAGE.format(
        n_weights=n_weights(),
        steps=table_of_steps(),
        sums=table_of_sums(),
        rows=table_of_rows(),
        per_row=1e6 * vae[0],
        gflops=1e-9 * 5 * n_weights() / vae[0],  # the columns themselves need no gradient
        per_step=1e3 * vae[1],
        predictions=table_of_predictions(8192, slow),
        bytes_minutes=60 * predicted(1, 8192, "NVLink", fast)["hours"],
        bytes_dollars=predicted(1, 8192, "NVLink", fast)["dollars"],
        n_steps=N_ROWS // 8192,
        labels=40 * N_ROWS / 1e9,
        steps_64=N_ROWS / (64 * 8192),
        checkpoint=5 * 4 * n_weights() / 1e6,
    )


if __name__ == "__main__":
    print(page(), end="")
