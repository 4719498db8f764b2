"""A quiet build: TensorFlow's own lines are left out, and nothing else."""

import subprocess
import sys
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
SCRIPT = """
import os, subprocess, sys
import quiet_build
quiet_build.filter_errors()
os.write(2, b"WARNING: All log messages before absl::InitializeLog() is called are written\\n")
os.write(2, b"I0000 00:00:1795722147.245256    4319 port.cc:153] oneDNN operations are on\\n")
os.write(2, b"E0000 00:00:1795722147.245256    4319 port.cc:153] something is broken\\n")
subprocess.run([sys.executable, "-c", (
    "import os; os.write(2, b'I0000 00:00:1.2 3 cudart_stub.cc:31] no GPU\\\\na child speaks\\\\n')"
)])
print("W is no line of TensorFlow", file=sys.stderr)
os.write(2, b"the end, without a newline")
"""


def test_only_the_lines_of_the_start_are_left_out():
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=DOCS, capture_output=True, text=True, check=True
    )
    assert done.stderr.splitlines() == [
        "E0000 00:00:1795722147.245256    4319 port.cc:153] something is broken",
        "a child speaks",
        "W is no line of TensorFlow",
        "the end, without a newline",
    ]
