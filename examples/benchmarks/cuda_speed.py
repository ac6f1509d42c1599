"""Speed on an NVIDIA GPU: training, prediction, where the time goes, and M2 against Pyro. About five minutes.

    python examples/benchmarks/cuda_speed.py                             # every section, on the first GPU
    python examples/benchmarks/cuda_speed.py --only train pyro           # some sections
    python examples/benchmarks/cuda_speed.py --device cpu --quick        # seconds: only checks that the script runs

Models are 784-500-50 with ten classes, on random gray rows that lie on the device. A training rate is rows per second
of the whole epoch, as ``fit`` runs it, and a median over epochs; the first epochs of a fit do not count. The clock is
read after ``torch.cuda.synchronize()``. Sections:

- peak: rate of an 8192 x 8192 x 8192 product, in bfloat16 and in float32.
- train: rows per second of VAE, DLGM and M2Classifier by batch size and precision. FLOPs are those of the matrix
  products of the forward and backward passes, counted from the layers; the share is that of the bfloat16 peak.
- profile: kernels per step, device time and host time per step at the small batch, and the kernels that take longest.
  "ms to issue" is the time until all steps of an epoch are issued; if it is close to the step's whole time, launches
  are the limit.
- syncs: where an epoch makes the host wait for the device, by ``torch.cuda.set_sync_debug_mode``.
- pyro: M2Classifier against Pyro's TraceEnum_ELBO, skipped without Pyro. Goal: 10 times as fast.
- predict: M2Classifier.predict_proba and VAE.transform of a million rows in host memory.
- cpu: epochs of VAE and M2Classifier on the CPU of the same machine.

Every measurement is printed when it is made and, except under ``--quick``, appended to results/cuda_speed.jsonl
(``--results`` names another folder), from which cuda_page.py writes the page. A section that fails prints its error,
and the next one runs. With ``SKDGM_CUDA_GRAPHS=0``, kernels are launched one by one instead of as CUDA graphs.
"""

from __future__ import annotations

import time

START = time.perf_counter()  # imports count

import argparse
import collections
import math
import os
import statistics
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from _table import RESULTS, processor

from skdgm import DLGM, VAE, M1M2Classifier, M2Classifier, StackedAutoencoder, training
from skdgm.estimators._callbacks import EpochTasks

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "replication"))
from _runs import append

COLUMNS, HIDDEN, LATENT, CLASSES = 784, 500, 50, 10
LABELED, LABELED_BATCH, ALPHA, RATE = 1000, 100, 0.1, 1e-3
MODELS = ("VAE", "DLGM", "M2, full sum", "M2, n_enumerated=1")
PRECISIONS = ("float32", "bfloat16")


class OutOfTime(Exception):
    """The time for all sections is over."""


class Fit(NamedTuple):
    """Size of a fit: batch size, rows and epochs, of which the first ``n_warm`` do not count."""

    batch: int
    n_rows: int
    n_epochs: int
    n_warm: int = 2


@dataclass
class Plan:
    """Sizes of all measurements."""

    fits: tuple[Fit, ...] = (Fit(200, 20_000, 6), Fit(2_000, 40_000, 8), Fit(20_000, 80_000, 10))
    profiled: Fit = Fit(200, 4_000, 6)
    watched: Fit = Fit(200, 2_000, 3)
    against_pyro: tuple[Fit, ...] = (Fit(200, 20_000, 4, 1), Fit(2_000, 40_000, 5, 1))
    pyro_steps: int = 40
    on_cpu: Fit = Fit(200, 10_000, 3, 1)
    n_predicted: int = 1_000_000
    size: int = 8192
    rounds: int = 3


QUICK = Plan(
    fits=(Fit(50, 400, 3, 1), Fit(200, 400, 3, 1)),
    profiled=Fit(50, 200, 3, 1),
    watched=Fit(50, 200, 2, 1),
    against_pyro=(Fit(50, 400, 3, 1),),
    pyro_steps=3,
    on_cpu=Fit(50, 400, 2, 1),
    n_predicted=2_000,
    size=256,
    rounds=2,
)


@dataclass
class Run:
    """The command line, and what has been measured so far."""

    device: str
    plan: Plan
    max_seconds: float
    results: Path | None
    peaks: dict[str, float] = field(default_factory=dict)  # FLOP/s by precision
    rates: dict[tuple[str, int, str], float] = field(default_factory=dict)  # rows/s by model, batch and precision

    def check_time(self) -> None:
        """Raise OutOfTime if the time is over."""
        if time.perf_counter() - START > self.max_seconds:
            raise OutOfTime

    def keep(self, method: str, metric: str, value: float, facts: dict[str, Any] | None = None, **setting: Any) -> None:
        """Append a measurement to the results."""
        if self.results is not None:
            setting |= {"card": card(self.device), "graphs": os.environ.get("SKDGM_CUDA_GRAPHS") != "0"}
            key = {"experiment": "cuda_speed", "method": method, "setting": setting}
            key |= {"seed": 0, "metric": metric}
            append(key, {}, value, facts or {}, time.perf_counter() - START, self.results)


def card(device: str) -> str:
    """Name of the card, or of the processor."""
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else processor()


def synchronize() -> None:
    """Wait for the GPU, if there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def timed(work: Callable[[], Any]) -> float:
    """Seconds of a call, with all it started on the device."""
    synchronize()
    start = time.perf_counter()
    work()
    synchronize()
    return time.perf_counter() - start


def say(*cells: Any, head: bool = False) -> None:
    """Print a row of a table in Markdown; a head begins a table."""
    print(("\n" if head else "") + "| " + " | ".join(map(str, cells)) + " |", flush=True)
    if head:
        print("|" + "---|" * len(cells), flush=True)


# --- models ---------------------------------------------------------------------------------------------------------


def gray_rows(n: int, seed: int = 0) -> np.ndarray:
    """Random rows in [0, 1]."""
    return np.random.default_rng(seed).random((n, COLUMNS), dtype=np.float32)


def labels(n: int) -> np.ndarray:
    """Ten classes; -1 for all but the first rows."""
    n_labeled = min(LABELED, n // 4)
    return np.where(np.arange(n) < n_labeled, np.arange(n) % CLASSES, -1)


def estimator(name: str, fit: Fit, precision: str, device: str) -> Any:
    """A model of 784-500-50."""
    common = {"likelihood": "bernoulli", "batch_size": fit.batch, "max_iter": fit.n_epochs, "early_stopping": False}
    common |= {"learning_rate_init": RATE, "learning_rate": "constant", "hidden_layer_sizes": (HIDDEN,)}
    common |= {"weight_prior": None, "precision": precision, "device": device, "random_state": 0}
    if name in ("VAE", "DLGM"):
        return {"VAE": VAE, "DLGM": DLGM}[name](LATENT, prior="normal", **common)
    n_enumerated = None if name == "M2, full sum" else 1
    options = {"alpha": ALPHA, "alpha_normalization": "balanced", "class_prior": "uniform"}
    return M2Classifier(LATENT, n_enumerated=n_enumerated, labeled_batch_size=LABELED_BATCH, **options, **common)


def fitted(name: str, fit: Fit, precision: str, device: str, X: np.ndarray) -> Any:
    """Fit a model to the first rows of X."""
    X = X[: fit.n_rows]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return estimator(name, fit, precision, device).fit(X, labels(len(X)) if name.startswith("M2") else None)


def n_steps(fit: Fit) -> int:
    """Steps of an epoch."""
    return math.ceil(fit.n_rows / fit.batch)


def flops(name: str, n: int) -> float:
    """FLOPs of the matrix products of a step with n (unlabeled) rows, forward and backward.

    A layer of a columns and b units takes 2 a b FLOPs per use forward, the same for the gradient of its weights, and
    the same for that of its input, unless this is the data. Each network has a linear path beside its layers.
    """

    def network(n_in: int, n_out: int, rows: float, uses: float, data: bool) -> float:
        first, second = (n_in * HIDDEN + n_in * n_out), HIDDEN * n_out
        of_input = rows if data else uses  # layers that read the data do so once, whatever the number of classes
        return 2 * (first * of_input * (2 if data else 3) + second * uses * 3)

    n_outputs = (3 if name == "DLGM" else 2) * LATENT  # rank one: mean, log-variance and a column
    if name in ("VAE", "DLGM"):
        return network(COLUMNS, n_outputs, n, n, True) + network(LATENT, COLUMNS, n, n, False)
    n_classes = CLASSES if name == "M2, full sum" else 2
    total = network(COLUMNS, CLASSES, n, n, True) + network(COLUMNS, CLASSES, LABELED_BATCH, LABELED_BATCH, True)
    for rows, uses in ((n, n * n_classes), (LABELED_BATCH, LABELED_BATCH)):
        total += network(COLUMNS, n_outputs, rows, uses, True) + network(LATENT, COLUMNS, uses, uses, False)
    return total


class Epochs(NamedTuple):
    """Seconds of the epochs of a fit, and of issuing their steps."""

    whole: list[float]
    issue: list[float]


@contextmanager
def epoch_clock(
    on_begin: Callable[[int], None] = lambda epoch: None, on_end: Callable[[int], None] = lambda epoch: None
) -> Iterator[Epochs]:
    """Record the epochs of the fits in the body, and call a function when one begins or ends."""
    epochs, begun = Epochs([], []), [0.0]
    begin, end, read = EpochTasks.begin, EpochTasks.end, training.Means.read

    def timed_begin(self: EpochTasks, epoch: int) -> None:
        synchronize()
        on_begin(epoch)
        begun[0] = time.perf_counter()
        begin(self, epoch)

    def timed_read(self: Any) -> dict[str, float]:
        epochs.issue.append(time.perf_counter() - begun[0])
        return read(self)

    def timed_end(self: EpochTasks, epoch: int, history: Any) -> bool:
        synchronize()
        epochs.whole.append(time.perf_counter() - begun[0])
        on_end(epoch)
        return end(self, epoch, history)

    EpochTasks.begin, EpochTasks.end, training.Means.read = timed_begin, timed_end, timed_read
    try:
        yield epochs
    finally:
        EpochTasks.begin, EpochTasks.end, training.Means.read = begin, end, read


def measured(name: str, fit: Fit, precision: str, device: str, X: np.ndarray) -> tuple[float, float]:
    """Median seconds of a step, and of issuing it."""
    with epoch_clock() as epochs:
        fitted(name, fit, precision, device, X)
    seconds = (statistics.median(part[fit.n_warm :]) / n_steps(fit) for part in epochs)
    return next(seconds), next(seconds)


# --- sections -------------------------------------------------------------------------------------------------------


def peak(run: Run) -> None:
    """The rate of a large matrix product."""
    size, repeats = run.plan.size, 10
    say("product", "precision", "TFLOP/s", head=True)
    for precision in ("bfloat16", "float32"):
        a, b = (torch.randn(size, size, device=run.device).to(getattr(torch, precision)) for _ in range(2))
        work = lambda a=a, b=b: [torch.mm(a, b) for _ in range(repeats)]  # noqa: E731
        work()
        rate = 2 * size**3 * repeats / statistics.median(timed(work) for _ in range(5))
        run.peaks[precision] = rate
        say(f"{size}³", precision, f"{rate / 1e12:.3g}")
        run.keep("matrix product", "flops_per_second", rate, size=size, precision=precision)


def train(run: Run) -> None:
    """Training by model, batch size and precision."""
    X = gray_rows(max(fit.n_rows for fit in run.plan.fits))
    fitted("VAE", run.plan.watched, "float32", run.device, X)  # starts the libraries
    say("training", "batch", "precision", "rows/s", "ms per step", "TFLOP/s", "share of the bfloat16 peak", head=True)
    for fit in run.plan.fits:
        for name in MODELS:
            for precision in PRECISIONS:
                run.check_time()
                train_one(run, name, fit, precision, X)


def train_one(run: Run, name: str, fit: Fit, precision: str, X: np.ndarray) -> None:
    """One row of the table; a fit that fails, such as for lack of memory, is reported, and the next one runs."""
    try:
        seconds, _ = measured(name, fit, precision, run.device, X)
    except Exception as error:
        say(name, f"{fit.batch:,}", precision, f"{type(error).__name__}: {str(error).splitlines()[0]}", "", "", "")
        return
    rows_per_step = fit.n_rows / n_steps(fit)
    rate, flop_rate = rows_per_step / seconds, flops(name, round(rows_per_step)) / seconds
    run.rates[name, fit.batch, precision] = rate
    share = flop_rate / run.peaks["bfloat16"] if "bfloat16" in run.peaks else math.nan
    say(
        name,
        f"{fit.batch:,}",
        precision,
        f"{rate:,.0f}",
        f"{1e3 * seconds:.3g}",
        f"{flop_rate / 1e12:.3g}",
        f"{100 * share:.1f} %",
    )
    facts = {"milliseconds_per_step": 1e3 * seconds, "flops_per_second": flop_rate, "share_of_peak": share}
    run.keep(name, "rows_per_second", rate, facts, batch=fit.batch, precision=precision)


def profile(run: Run) -> None:
    """Kernels and times per step at the small batch."""
    fit, tables = run.plan.profiled, []
    X = gray_rows(fit.n_rows)
    head = ("a step at batch " + str(fit.batch), "precision", "ms", "ms to issue", "ms of kernels", "kernels")
    say(*head, "copies", "waits", "operators", head=True)
    for name in MODELS:
        for precision in PRECISIONS:
            run.check_time()
            seconds, issue = measured(name, fit, precision, run.device, X)
            found = profiled(name, fit, precision, run.device, X)
            times = (1e3 * seconds, 1e3 * issue, found.device_ms)
            counts = (found.n_kernels, found.n_copies, found.n_waits, found.n_operators)
            say(name, precision, *(f"{t:.3g}" for t in times), *(f"{count:.1f}" for count in counts))
            facts = {"issue_ms": times[1], "device_ms": times[2], "kernels": counts[0], "copies": counts[1]}
            facts |= {"waits": counts[2], "operators": counts[3]}
            run.keep(name, "milliseconds_per_step", times[0], facts, batch=fit.batch, precision=precision)
            if precision == "float32":
                tables.append((name, found.longest))
    for name, longest in tables:
        say(f"longest in a step of {name}, float32", "per step", "µs per step", head=True)
        for kernel, count, microseconds in longest:
            say(f"`{kernel[:90]}`", f"{count:.1f}", f"{microseconds:.1f}")


class Profile(NamedTuple):
    """Means per step."""

    device_ms: float
    n_kernels: float
    n_copies: float
    n_waits: float
    n_operators: float
    longest: list[tuple[str, float, float]]  # kernels (operators on a CPU): name, calls and microseconds


def profiled(name: str, fit: Fit, precision: str, device: str, X: np.ndarray) -> Profile:
    """Profile the last epoch of a fit."""
    activities = [torch.profiler.ProfilerActivity.CPU]
    if device.startswith("cuda"):
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    profiler = torch.profiler.profile(activities=activities)

    def on_begin(epoch: int) -> None:
        if epoch == fit.n_epochs - 1:
            profiler.start()

    def on_end(epoch: int) -> None:
        if epoch == fit.n_epochs - 1:
            profiler.stop()

    with epoch_clock(on_begin, on_end):
        fitted(name, fit, precision, device, X)
    events, steps = profiler.events(), n_steps(fit)
    on_device = [event for event in events if event.device_type == torch.autograd.DeviceType.CUDA]
    copies = [event for event in on_device if event.name.startswith(("Memcpy", "Memset"))]
    operators = [event for event in events if event.name.startswith("aten::")]
    waiting = "cudaStreamSynchronize" if on_device else "aten::_local_scalar_dense"
    waits = [event for event in events if event.name == waiting]
    calls: dict[str, list[float]] = collections.defaultdict(list)
    for event in on_device or operators:
        calls[event.name].append(event.time_range.elapsed_us())
    longest = sorted(((key, len(us) / steps, sum(us) / steps) for key, us in calls.items()), key=lambda row: -row[2])
    return Profile(
        sum(event.time_range.elapsed_us() for event in on_device) / 1e3 / steps,
        (len(on_device) - len(copies)) / steps,
        len(copies) / steps,
        len(waits) / steps,
        len(operators) / steps,
        longest[:12],
    )


def syncs(run: Run) -> None:
    """Where the host waits for the device within an epoch."""
    if not run.device.startswith("cuda"):
        print("syncs: only on a GPU")
        return
    fit = run.plan.watched
    X, y = gray_rows(fit.n_rows), labels(fit.n_rows)
    common = {"batch_size": fit.batch, "max_iter": fit.n_epochs, "device": run.device, "random_state": 0}
    models = {name: estimator(name, fit, "float32", run.device) for name in MODELS}
    models["DLGM, two layers"] = DLGM((20, 10), hidden_layer_sizes=(HIDDEN,), **common)
    models["DLGM, diagonal"] = DLGM(20, posterior="diagonal", hidden_layer_sizes=(HIDDEN,), **common)
    models["M2, defaults"] = M2Classifier(**common)
    models["M1M2"] = M1M2Classifier(encoder=VAE(20, **common), **common)
    models["StackedAutoencoder"] = StackedAutoencoder((20, 10), **common)
    say("epochs with waits", "place", "waits per epoch", head=True)
    for name, model in models.items():
        run.check_time()
        try:
            found = waits_of(model, X, y if "M2" in name else None)
        except Exception as error:
            say(name, f"{type(error).__name__}: {str(error).splitlines()[0]}", "")
            continue
        for place, count in found.most_common(8):
            say(name, place, f"{count:.1f}")
        run.keep(name, "waits_per_epoch", sum(found.values()), dict(found))


def waits_of(model: Any, X: np.ndarray, y: np.ndarray | None) -> collections.Counter[str]:
    """Waits per epoch of a fit, by the line of the library that waits; those of the estimator's hooks do not count."""
    places: collections.Counter[str] = collections.Counter()
    n_epochs, library = [0], str(Path(training.__file__).parent)

    def note(message: Any, category: Any, filename: str, lineno: int, file: Any = None, line: Any = None) -> None:
        if "synchroniz" in str(message):
            frames = [frame for frame in traceback.extract_stack() if frame.filename.startswith(library)][-3:]
            places[" < ".join(f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in reversed(frames))] += 1

    def on_begin(epoch: int) -> None:
        torch.cuda.set_sync_debug_mode("warn")

    def on_end(epoch: int) -> None:
        torch.cuda.set_sync_debug_mode("default")
        n_epochs[0] += 1

    show = warnings.showwarning
    with warnings.catch_warnings(), epoch_clock(on_begin, on_end):
        warnings.simplefilter("always")
        warnings.showwarning = note
        try:
            model.fit(X, y)
        finally:
            torch.cuda.set_sync_debug_mode("default")
            warnings.showwarning = show
    return collections.Counter({place: count / max(1, n_epochs[0]) for place, count in places.items()})


def against_pyro(run: Run) -> None:
    """M2 in both libraries, in turn."""
    try:
        import pyro
        from _pyro_m2 import PyroTrainer
    except ImportError as error:
        print(f"\npyro: skipped, {error}. Install pyro-ppl.", flush=True)
        return
    say("M2 training", "batch", "precision", "rows/s", "Pyro, rows/s", "ratio", "goal", head=True)
    for fit in run.plan.against_pyro:
        X = gray_rows(fit.n_rows).round()
        ours = [(name, precision) for name in MODELS[2:] for precision in PRECISIONS]
        steps: dict[Any, list[float]] = collections.defaultdict(list)
        x = torch.from_numpy(X).to(run.device)
        y = torch.from_numpy(labels(len(X))).to(run.device)
        for _ in range(run.plan.rounds):
            for checks in (False, True):
                run.check_time()
                pyro.enable_validation(checks)  # Pyro's default, True, reads values back from the device
                trainer = PyroTrainer(RATE, ALPHA * fit.n_rows / LABELED, 0, run.device)
                steps[checks].append(seconds_per_pyro_step(trainer, x, y, fit.batch, run.plan.pyro_steps))
            pyro.enable_validation(False)
            for name, precision in ours:
                run.check_time()
                steps[name, precision].append(measured(name, fit, precision, run.device, X)[0])
        median = {key: statistics.median(values) for key, values in steps.items()}
        theirs, default = fit.batch / median[False], fit.batch / median[True]
        run.keep("Pyro", "rows_per_second", theirs, {"with validation": default}, batch=fit.batch)
        for name, precision in ours:
            rate = fit.n_rows / n_steps(fit) / median[name, precision]
            both = f"{theirs:,.0f} ({default:,.0f} with its checks)"
            say(name, f"{fit.batch:,}", precision, f"{rate:,.0f}", both, f"{rate / theirs:.1f}×", "≥ 10×")
            facts = {"rows_per_second": rate, "pyro_rows_per_second": theirs}
            run.keep(name, "ratio_to_pyro", rate / theirs, facts, batch=fit.batch, precision=precision)


def seconds_per_pyro_step(trainer: Any, x: torch.Tensor, y: torch.Tensor, batch: int, n: int) -> float:
    """Seconds per step of Pyro, after a few others; its batches are gathered on the device as ours are."""
    n_labeled = int((y >= 0).sum())
    size = min(LABELED_BATCH, n_labeled)

    def steps(count: int) -> None:
        for _ in range(count):
            rows = torch.randperm(len(x) - n_labeled, device=x.device)[:batch] + n_labeled
            labeled = torch.randperm(n_labeled, device=x.device)[:size]
            trainer.step(x[rows], x[labeled], y[labeled])

    steps(max(2, n // 8))
    return timed(lambda: steps(n)) / n


def predict(run: Run) -> None:
    """Prediction of many rows in host memory."""
    n, fit = run.plan.n_predicted, run.plan.watched
    X = gray_rows(n)
    say("prediction", "rows/s", "seconds", "ms of kernels per 1,000 rows", head=True)
    for name, method in (("M2, full sum", "predict_proba"), ("VAE", "transform")):
        run.check_time()
        work = getattr(fitted(name, fit, "float32", run.device, X), method)
        work(X[:2000])
        seconds = statistics.median(timed(lambda: work(X)) for _ in range(run.plan.rounds))  # noqa: B023
        kernels = kernel_seconds(lambda: work(X[:20_000]), run.device) / min(n, 20_000)  # noqa: B023
        say(f"{name}, `{method}`, {n:,} rows", f"{n / seconds:,.0f}", f"{seconds:.2f}", f"{1e6 * kernels:.3g}")
        facts = {"seconds": seconds, "kernel_seconds_per_row": kernels}
        run.keep(name, f"{method}_rows_per_second", n / seconds, facts, n_rows=n)


def kernel_seconds(work: Callable[[], Any], device: str) -> float:
    """Seconds of the kernels that a call runs; 0 on a CPU."""
    if not device.startswith("cuda"):
        return 0.0
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profiler:
        work()
        synchronize()
    on_device = [event for event in profiler.events() if event.device_type == torch.autograd.DeviceType.CUDA]
    return sum(event.time_range.elapsed_us() for event in on_device if not event.name.startswith("Memcpy")) / 1e6


def on_cpu(run: Run) -> None:
    """The same epochs on the CPU of this machine."""
    fit = run.plan.on_cpu
    X = gray_rows(fit.n_rows)
    say(
        f"training on the CPU, {torch.get_num_threads()} threads", "batch", "rows/s", f"{run.device}: rows/s", head=True
    )
    for name in ("VAE", "M2, full sum"):
        run.check_time()
        rate = fit.n_rows / n_steps(fit) / measured(name, fit, "float32", "cpu", X)[0]
        on_device = run.rates.get((name, fit.batch, "float32"), math.nan)
        say(f"{name}, float32", fit.batch, f"{rate:,.0f}", f"{on_device:,.0f} ({on_device / rate:.1f}×)")
        run.keep(name, "cpu_rows_per_second", rate, {"processor": processor()}, batch=fit.batch)


SECTIONS = {
    "peak": peak,
    "train": train,
    "profile": profile,
    "syncs": syncs,
    "pyro": against_pyro,
    "predict": predict,
    "cpu": on_cpu,
}


def parsed() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda", help="device to measure (default: cuda)")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS), help="sections to run")
    parser.add_argument("--quick", action="store_true", help="tiny sizes that check the script; nothing is stored")
    parser.add_argument("--max-seconds", type=float, default=300, help="start nothing after this time (default: 300)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of cuda_speed.jsonl")
    return parser.parse_args()


def main() -> None:
    """Run the sections."""
    options = parsed()
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        print("cuda_speed.py: no CUDA device on this machine; --device cpu --quick checks the script")
        return
    plan, results = (QUICK, None) if options.quick else (Plan(), options.results)
    run = Run(options.device, plan, options.max_seconds, results)
    versions = f"torch {torch.__version__}, CUDA {torch.version.cuda}"
    print(f"{card(run.device)}, {versions}; host: {processor()}, {torch.get_num_threads()} threads", flush=True)
    print(f"imports and start: {time.perf_counter() - START:.1f} s", flush=True)
    for name in SECTIONS:
        if name not in options.only:
            continue
        start = time.perf_counter()
        try:
            run.check_time()
            SECTIONS[name](run)
        except OutOfTime:
            print(f"\n{name}: stopped, {run.max_seconds:.0f} s are over", flush=True)
        except Exception:
            print(f"\n{name}: FAILED\n{traceback.format_exc()}", flush=True)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        print(f"\n({name}: {time.perf_counter() - start:.1f} s)", flush=True)
    print(f"all: {time.perf_counter() - START:.1f} s", flush=True)


if __name__ == "__main__":
    main()
