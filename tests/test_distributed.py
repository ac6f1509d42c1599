"""Fits of several processes: equal bits on all of them, and the gradients, scales and decisions of one process."""

import json
import os
import pickle
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Barrier
from types import SimpleNamespace
from typing import NamedTuple

import distributed_fits as fits
import numpy as np
import pandas as pd
import pytest
import torch
from scipy.sparse import csr_array

import skdgm
from skdgm import VAE, M2Classifier, distributed
from skdgm.distributed._launch import described, raise_first_error
from skdgm.distributed._snapshots import SharedStore
from skdgm.distributed._sources import OwnBatches, OwnRows, ShardedSource
from skdgm.estimators import _checkpoints, _fingerprint
from skdgm.estimators._tables import TableFormat
from skdgm.sources import ResidentSource, WeightedSource
from skdgm.training import row_mean

ROOT = Path(__file__).parent.parent
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
# torch.distributed warns of what has no effect on results
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def environment():
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]), "OMP_NUM_THREADS": "1"}


# --- one process, as each of several ----------------------------------------------------------------------------------


def shards(source_of, bounds):
    """The sharded source as each process sees it."""
    n = len(bounds) - 1
    for rank in range(n):
        processes = SimpleNamespace(rank=rank, n=n)
        own = source_of(slice(bounds[rank], max(bounds[rank + 1], bounds[rank] + 1)))
        yield ShardedSource(processes, own, bounds, "cpu")


@pytest.mark.parametrize("bounds", [[0, 10, 20], [0, 13, 20], [0, 1, 18, 20], [0, 0, 20]])
@pytest.mark.parametrize("n_batches", [1, 3, 7])
def test_parts_of_batches_add_up_to_the_means_of_whole_batches(bounds, n_batches):
    x, weight = torch.arange(20.0)[:, None], torch.linspace(0.5, 1.5, 20)
    sums, seen = torch.zeros(n_batches), [[] for _ in range(n_batches)]
    for shard in shards(lambda part: ResidentSource(x[part] if part.start < 20 else x[-1:]), bounds):
        source = OwnBatches(WeightedSource(shard, weight), n_batches)
        order = source.order(torch.Generator().manual_seed(shard.start))
        for k, indices in enumerate(order.tensor_split(n_batches)):
            batch = source.rows(indices, None)
            assert len(batch.x) == max(1, len(indices))
            sums[k] += row_mean(batch.x[:, 0], batch.weight)
            seen[k] += indices.tolist()
    assert sorted(sum(seen, [])) == list(range(20))
    whole = torch.stack([(weight[rows] * x[rows, 0]).mean() for rows in seen])
    torch.testing.assert_close(sums, whole)


def test_own_rows_add_up_to_the_mean_of_all_rows():
    x = torch.arange(20.0)[:, None]
    total = 0.0
    for shard in shards(lambda part: ResidentSource(x[part]), [0, 13, 18, 20]):
        source = OwnRows(shard.subset(torch.arange(15)))  # the last process has none of these rows
        batch = source.rows(torch.arange(source.n_rows), None)
        total += row_mean(batch.x[:, 0], batch.weight)
    torch.testing.assert_close(total, x[:15].mean())


def test_formats_of_shards_join():
    shards = [np.array([["b", None, 1.5]], object), np.array([["a", 7, 2]], object), np.array([[None, 3, 1]], object)]
    found = TableFormat.of_shards([TableFormat.with_categories(X, owner="VAE") for X in shards])
    assert found == TableFormat.of(np.concatenate(shards))
    shards[1][0, 0] = 3.0
    with pytest.raises(ValueError, match="must have the same type"):
        TableFormat.of_shards([TableFormat.with_categories(X, owner="VAE") for X in shards[:2]])


class Snapshot(NamedTuple):
    numbers: dict
    arrays: dict


class Store:
    """Keeps the last snapshot."""

    last = None

    def newest(self):
        return self.last

    def is_due(self, n_epochs):
        return n_epochs % 2 == 0

    def save(self, snapshot):
        self.last = snapshot


def in_threads(n, function):
    """Call a function of processes in n threads, which exchange values as processes do; return their results."""
    barrier, values = Barrier(n), [None] * n

    def exchange(rank, value):
        values[rank] = value
        barrier.wait()
        received = list(values)
        barrier.wait()
        return received

    with ThreadPoolExecutor(n) as pool:
        processes = [SimpleNamespace(rank=rank, n=n, exchange=partial(exchange, rank)) for rank in range(n)]
        return list(pool.map(function, processes))


@pytest.mark.parametrize("n_later", [1, 2, 3])
def test_a_snapshot_holds_what_is_each_processs_own(n_later):
    first = Store()

    def save(processes):
        store = SharedStore(Store() if processes.rank else first, processes)
        own = {"generator": torch.tensor(processes.rank), "stateful.0.chains": torch.tensor(10 + processes.rank)}
        store.save(Snapshot({"n_epochs": 2}, {"weights": torch.tensor(5)} | own))
        return store.is_due(2), store.store.last is None

    def load(processes):
        snapshot = SharedStore(Store() if processes.rank else first, processes).newest()
        return {name: int(value) for name, value in snapshot.arrays.items()}

    assert in_threads(2, save) == [(True, False), (True, True)]
    rank_0 = {"weights": 5, "generator": 0, "stateful.0.chains": 10}
    later = {"weights": 5, "generator": 1, "stateful.0.chains": 11}
    if n_later != 2:
        later = {"weights": 5, "stateful.0.chains": 10}
    assert in_threads(n_later, load) == [rank_0, later, later][:n_later]


FRAME = pd.DataFrame({"a": np.arange(20.0), "b": list("xyzx" * 5), "c": np.arange(20) % 3 == 0}).convert_dtypes()


@pytest.mark.parametrize(
    "X",
    [
        FRAME[["a", "c"]].to_numpy(float),
        FRAME,
        FRAME.to_numpy(object),
        csr_array(np.eye(20, 6)),
        np.ma.masked_array(np.eye(20, 3), np.eye(20, 3, 1) > 0),
    ],
    ids=lambda X: type(X).__name__,
)
@pytest.mark.parametrize("is_large", [False, True])
def test_shards_are_described_as_the_rows_that_they_are(X, is_large, monkeypatch):
    """Alike for any number of processes; unlike with another order of rows, another label, or another weight."""
    local = threading.local()
    monkeypatch.setattr(_checkpoints, "current", lambda: local.processes)
    if is_large:
        monkeypatch.setattr(_fingerprint, "fits_in_memory", lambda shape: shape[0] < 20)
        monkeypatch.setattr(_fingerprint, "MAX_ROWS", 19)

    def described(n, X, y, weight):
        def of_one(processes):
            local.processes = processes
            part = slice(*(20 * (processes.rank + k) // n for k in range(2)))
            rows = X.iloc[part] if isinstance(X, pd.DataFrame) else X[part]
            return _checkpoints.of_processes(VAE(), {"X": rows, "y": y[part], "sample_weight": weight[part]})

        first, *others = in_threads(n, of_one)
        assert all(other == first for other in others) and first["shape of X"] == [20, X.shape[1]]
        return first

    def differences(X, y, weight):
        found = described(2, X, y, weight)
        return [name for name in found if found[name] != before[name]]

    y, weight = [*"ab" * 9, "a", -1.0], np.linspace(1, 2, 20)
    y = np.array(y, dtype=object)
    before = described(1, X, y, weight)
    assert described(2, X, y, weight) == described(3, X, y, weight) == before
    swapped = np.r_[7, 1:7, 0, 8:20]
    rows = X.iloc[swapped] if isinstance(X, pd.DataFrame) else X[swapped]
    assert differences(rows, y, weight) == ["the rows of X"]
    assert differences(X, y[swapped], weight) == ["the rows of y"]
    assert differences(X, y, weight[swapped]) == ["the rows of sample_weight"]


# --- two processes ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What both processes found in the cases of distributed_fits.py."""
    folder = tmp_path_factory.mktemp("distributed")
    X, _ = fits.digits()
    X.tofile(folder / "X.dat")
    command = [*TORCHRUN, str(Path(__file__).with_name("distributed_fits.py")), str(folder)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr
    return SimpleNamespace(folder=folder, ranks=[json.loads((folder / f"{r}.json").read_text()) for r in (0, 1)])


def test_processes_fit_one_model(found, monkeypatch):
    """One test, because the processes are slow to start."""
    first, last = found.ranks
    same_bits(first, last)
    gradients_are_those_of_one_process(first["gradients"], fits.gradients())
    monkeypatch.setattr(sys, "argv", [str(found.folder)])
    tables_are_described_as_by_one_process(first["tables"], fits.tables())
    decisions_are_common(first["decisions"])
    bound_is_that_of_one_process(first["long_fit"], fits.long_fit())
    errors_reach_all_processes(first["errors"], last["errors"])
    assert first["example"] == last["example"] and first["example"]["accuracy"] > 0.8
    assert isinstance(skdgm.load(found.folder / "m2.skdgm"), M2Classifier)


def same_bits(first, last):
    for name, of_first in first["every_estimator"].items():
        assert of_first == last["every_estimator"][name], name
        assert all(of_first["same"]), f"{name}: predictions of shards are those of all rows"
    for case in ("tables", "decisions", "long_fit"):
        assert first[case] == last[case]
    assert first["errors"]["bits"] == last["errors"]["bits"]
    assert first["errors"]["apart"] != last["errors"]["apart"], "within alone(), each has its own rows"


def gradients_are_those_of_one_process(of_shards, of_one):
    for name, expected in of_one.items():
        found = of_shards[name]
        assert found["start"] == expected["start"], f"{name}: the weights start at the same bits"
        gradient = np.array(expected["gradient"])
        assert np.linalg.norm(gradient - found["gradient"]) < 1e-5 * np.linalg.norm(gradient), name
        assert found["history"].keys() == expected["history"].keys()
        for term, values in expected["history"].items():
            np.testing.assert_allclose(found["history"][term], values, rtol=1e-5, atol=1e-6, err_msg=f"{name}: {term}")
        np.testing.assert_allclose(found["validation"] or 0, expected["validation"] or 0, rtol=1e-4, err_msg=name)


def tables_are_described_as_by_one_process(of_shards, of_one):
    for name, expected in of_one.items():
        for what in ("likelihoods", "scales", "categories"):
            assert of_shards[name][what] == expected[what], (name, what)
        assert abs(of_shards[name]["bound"] - expected["bound"]) < 1


def decisions_are_common(found):
    """Ctrl-C in the fifth of the steps, three an epoch, counts from the next step on: epoch 2 is complete by then."""
    assert found["n_iter"] == [2, 3]
    assert found["n_steps"] == [6, 3 * 3 + 3], "the second epoch was run again"


def bound_is_that_of_one_process(of_shards, of_one):
    assert abs(of_shards["bound"] - of_one["bound"]) < 0.5
    np.testing.assert_allclose(of_shards["prior"], of_one["prior"], atol=0.05)


def errors_reach_all_processes(first, last):
    """Each error on the first and on the last process: the same, or the error of the other one."""
    alike = {
        "parameter": "n_components must be the same on all processes: process 0 has '3', process 1 has '4'",
        "estimator": "the estimator must be the same",
        "columns": "the number of columns of X must be the same .* has 64, process 1 has 63",
        "labels": "y has no labeled row",
        "types": "y mixes labels",
        "weights": "sample_weight",
        "parts": "VAE.partial_fit trains on the rows of one process",
        "meta": "SemiSupervisedMetaClassifier.fit trains on the rows of one process",
        "shapes": "the shape of a row must be the same",
    }
    of_last = {"empty": r"Found array with 0 sample\(s\)", "infinite": "infinity", "lengths": "inconsistent numbers"}
    assert first["errors"].keys() == alike.keys() | of_last.keys()
    for name, words in (alike | of_last).items():
        (kind, text), (kind_of_last, text_of_last) = first["errors"][name], last["errors"][name]
        assert kind_of_last == "ValueError"
        for message in (text, text_of_last):
            assert re.search(words, message), (name, message)
        if name in of_last:
            assert kind == "ProcessError" and text == f"process 1 of 2 failed: ValueError: {text_of_last}"


KILLED = """
import os, signal, sys
from distributed_fits import RANK, VAE, bits, digits, error_of, own, training
from skdgm import Checkpoint
is_first = os.environ["TORCHELASTIC_RESTART_COUNT"] == "0"
X, _ = digits()
step, calls = training.step, []
def stopped(*args):
    calls.append(0)
    if len(calls) == 5 and RANK and is_first:
        open(sys.argv[1], "w").write(str(os.getpid()))
        os.kill(os.getpid(), signal.SIGSTOP)
    if len(calls) == 20 and RANK and is_first:
        os._exit(9)
    return step(*args)
training.step = stopped
vae = VAE(3, hidden_layer_sizes=(16,), max_iter=5, random_state=0, checkpoint=Checkpoint(sys.argv[2], every_epochs=1))
error = error_of(lambda: vae.fit(own(X)))
if is_first:
    print("error", error, len(calls), hasattr(vae, "module_"))
else:
    n_steps = len(calls)
    whole = VAE(**vae.get_params() | {"checkpoint": None})
    same = bits(vae.module_) == bits(whole.fit(own(X)).module_)
    os.write(1, f"epochs {vae.n_iter_} steps {n_steps} of {len(calls) - n_steps} same {same}\\n".encode())
sys.stdout.flush()
os._exit(1 if error else 0)
"""


def test_a_pause_loses_nothing_and_a_death_ends_or_restarts_all(tmp_path):
    """One process sleeps in its fifth step until it is woken, and dies without a word in its twentieth.

    The other one raises an error, and torchrun starts both of them again: they continue from the checkpoint, and end
    with the bits of a fit that was never killed.
    """
    pid = tmp_path / "pid"
    path = os.pathsep.join([str(Path(__file__).parent), environment()["PYTHONPATH"]])
    # torchrun looks every three seconds: it must not end the other process before that has raised its error
    torchrun = [*TORCHRUN, "--max-restarts=1", "--monitor-interval=3", "--no-python"]
    command = [*torchrun, sys.executable, "-W", "ignore", "-c", KILLED, str(pid), str(tmp_path / "checkpoint")]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, env=environment() | {"PYTHONPATH": path}, **options)
    while process.poll() is None and not (pid.exists() and pid.read_text()):
        time.sleep(0.05)
    time.sleep(1)
    assert process.poll() is None
    os.kill(int(pid.read_text()), signal.SIGCONT)
    printed, logged = process.communicate(timeout=120)
    assert process.returncode == 0, logged
    lost, *epochs = printed.strip().splitlines()
    assert "ProcessError" in lost and "lost the connection" in lost and lost.endswith("20 False")
    assert len(epochs) == 2 and len(set(epochs)) == 1
    n_steps, n_whole = map(int, re.fullmatch(r"epochs 5 steps (\d+) of (\d+) same True", epochs[0]).groups())
    assert 0 < n_steps <= n_whole - 12


# --- processes from a notebook ----------------------------------------------------------------------------------------


def test_fit_starts_processes(tmp_path, few_labels):
    X, y, _ = few_labels
    pyarrow = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    pq.write_table(pyarrow.table({f"pixel{j}": X[:, j] for j in range(64)}), tmp_path / "X.parquet")
    m2 = M2Classifier(3, hidden_layer_sizes=(16,), max_iter=2, random_state=0)
    assert distributed.fit(m2, tmp_path / "X.parquet", y, n_processes=2) is m2
    assert m2.feature_names_in_[0] == "pixel0" and m2.predict(X).shape == y.shape


def test_fit_starts_from_what_the_table_holds_now(tmp_path):
    """Not from the file behind a copy; and nothing of an earlier fit stays."""
    np.save(tmp_path / "X.npy", np.random.default_rng(0).normal(size=(60, 2)))
    copy = np.load(tmp_path / "X.npy", mmap_mode="c")
    copy += 100
    vae = VAE(1, max_iter=2, random_state=0).fit(pd.DataFrame({"a": copy[:, 0], "b": copy[:, 1]}))
    distributed.fit(vae, copy, n_processes=2)
    assert 95 < vae.sample(50, random_state=0).mean() < 105
    assert not hasattr(vae, "feature_names_in_")


@pytest.mark.parametrize("X", [np.ma.masked_array(np.eye(3), np.eye(3) > 0), [[1.0, 2.0]]])
def test_tables_that_are_no_plain_arrays_are_sent_as_they_are(X, tmp_path):
    assert list(described(X, tmp_path)) == ["table"]


def test_fit_raises_the_error_that_came_first(tmp_path):
    """A process that only heard of the error of another one may have written its own error before."""
    for rank, error in enumerate([distributed.ProcessError("process 1 of 2 failed"), ValueError("infinity")]):
        (tmp_path / f"error-{rank}.pickle").write_bytes(pickle.dumps(error))
    with pytest.raises(ValueError, match="infinity"):
        raise_first_error(tmp_path)


@pytest.mark.parametrize(
    ("X", "n_processes", "message"),
    [
        (np.zeros((3, 2)), 0, "n_processes must be an int >= 1, got 0"),
        (np.zeros((3, 2)), 2.0, "n_processes must be an int >= 1, got 2.0"),
        ("nowhere.parquet", 2, "which does not exist"),
    ],
)
def test_fit_checks_what_it_gets(X, n_processes, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        distributed.fit(VAE(), X, n_processes=n_processes)
