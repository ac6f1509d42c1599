"""Time that skdgm adds to `import torch, sklearn`: medians over new processes, for the package and all estimators."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys

from _table import Row, record

CODE = """
import json, time
times = [time.perf_counter()]
import torch, sklearn
times.append(time.perf_counter())
import skdgm
times.append(time.perf_counter())
[getattr(skdgm, name) for name in skdgm.__all__]
times.append(time.perf_counter())
print(json.dumps([b - a for a, b in zip(times, times[1:])]))
"""


def fresh() -> list[float]:
    """Seconds of the three steps in a new interpreter."""
    printed = subprocess.run([sys.executable, "-c", CODE], check=True, capture_output=True, text=True).stdout
    return json.loads(printed)


def main() -> None:
    """Time the imports."""
    fresh()  # fills the disk cache
    before, package, estimators = map(statistics.median, zip(*(fresh() for _ in range(9)), strict=True))
    rows = [
        Row("`import skdgm`", "`import torch, sklearn`", f"+ {package:.3f} s", f"{before:.2f} s", package, "≤ 0.2 s"),
        Row(
            "the same, plus access to every estimator",
            "`import torch, sklearn`",
            f"+ {package + estimators:.3f} s",
            f"{before:.2f} s",
            package + estimators,
            "≤ 0.2 s",
            note="this includes scikit-learn's SVM, metrics, and kernel modules, which `import sklearn` does not load",
        ),
    ]
    record(__file__, rows)


if __name__ == "__main__":
    main()
