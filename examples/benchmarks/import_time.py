"""What `import skdgm` adds to `import torch, sklearn`: medians over fresh processes."""

from __future__ import annotations

import subprocess
import sys

from _table import Row, in_turn, record


def fresh(code: str) -> None:
    """Run code in a new interpreter."""
    subprocess.run([sys.executable, "-c", code], check=True)


def main() -> None:
    """Time both imports."""
    both = {
        "ours": lambda: fresh("import torch, sklearn, skdgm"),
        "theirs": lambda: fresh("import torch, sklearn"),
    }
    in_turn(both, 1)  # fills the disk's cache
    median = in_turn(both, 7)
    row = Row(
        "`import skdgm`",
        "`import torch, sklearn`",
        f"{median['ours']:.2f} s",
        f"{median['theirs']:.2f} s",
        median["ours"] - median["theirs"],
        "≤ 0.2 s more",
    )
    record(__file__, [row])


if __name__ == "__main__":
    main()
