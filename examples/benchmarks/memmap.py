"""A VAE on a memmap against the same VAE on rows in memory: peak memory and time per row, each in a new process.

Usage: memmap.py [--gigabytes 6]. The file is temporary; TMPDIR names the disk.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from _table import Row, record

from skdgm import VAE

N_COLUMNS, BLOCK = 784, 20_000
ROWS_IN_MEMORY = 100_000
FIT = "--fit"


def write(path: Path, n_rows: int) -> None:
    """Write random rows block by block."""
    rng = np.random.default_rng(0)
    with path.open("wb") as file:
        for start in range(0, n_rows, BLOCK):
            file.write(rng.random((min(BLOCK, n_rows - start), N_COLUMNS), np.float32).tobytes())


def peak_bytes() -> int:
    """Largest memory of this process so far, pages of memmaps included (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM"))


def fit(path: str, n_rows: int, n_read: int) -> None:
    """Fit one epoch, to ``n_read`` rows in memory if that is not 0; print a JSON line."""
    before, X = peak_bytes(), np.memmap(path, np.float32, "r", shape=(n_rows, N_COLUMNS))
    X = np.array(X[:n_read]) if n_read else X
    start = time.perf_counter()
    VAE(max_iter=1, random_state=0).fit(X)
    per_row = (time.perf_counter() - start) / len(X)
    print(json.dumps({"peak": peak_bytes() - before, "seconds_per_row": per_row}))


def in_new_process(path: Path, n_rows: int, n_read: int = 0) -> dict[str, float]:
    """Fit in a new process, whose peak is not that of this one."""
    command = [sys.executable, __file__, FIT, str(path), str(n_rows), str(n_read)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def main() -> None:
    """Fit to the file and to some of its rows."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--gigabytes", type=float, default=6.0)
    size = parser.parse_args().gigabytes * 1e9
    n_rows = int(size) // (4 * N_COLUMNS)
    with tempfile.TemporaryDirectory() as folder:
        write(path := Path(folder) / "rows.bin", n_rows)
        memory = in_new_process(path, n_rows, min(ROWS_IN_MEMORY, n_rows))
        disk = in_new_process(path, n_rows)
    title, times = (
        f"VAE, one epoch of a memmap of {size / 1e9:g} GB",
        [1e6 * way["seconds_per_row"] for way in (disk, memory)],
    )
    rows = [
        Row(
            f"{title}: peak memory above that of an interpreter with torch",
            "size of the file",
            f"{disk['peak'] / 1e9:.2f} GB",
            f"{size / 1e9:g} GB",
            disk["peak"] / size,
            "≤ 0.25×",
        ),
        Row(
            f"{title}: time per row",
            f"{min(ROWS_IN_MEMORY, n_rows):,} rows in memory",
            f"{times[0]:.1f} µs",
            f"{times[1]:.1f} µs",
            times[0] / times[1],
            "≤ 1.25×",
        ),
    ]
    record(__file__, rows)


if __name__ == "__main__":
    if sys.argv[1:2] == [FIT]:
        fit(sys.argv[2], *map(int, sys.argv[3:]))
    else:
        main()
