"""Fits that are killed at random moments by examples/robustness/kill_test.py: one of each here, 20 when it is run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("safetensors", reason="safetensors is not installed")

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "examples" / "robustness" / "kill_test.py"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the script forks")
def test_a_fit_that_was_killed_ends_with_the_same_bits():
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(SCRIPT), "--kills", "1", "--no-record"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and done.stdout.count("1 of 1 with the same bits") == 8, done.stdout + done.stderr
