"""Run pytest in a process of its own, with a log: python on_console.py LOG [ARGUMENT...]

A console that wine makes of a terminal is lost to a program whose output is redirected outside, and
Ctrl-C, which tests press, is for all programs on it. So this is how tests run on Windows.
"""

import signal
import subprocess
import sys
from pathlib import Path

for number in (signal.SIGINT, signal.SIGBREAK):
    signal.signal(number, lambda number, frame: None)
with Path(sys.argv[1]).open("wb") as log:
    command = [sys.executable, "-m", "pytest", *sys.argv[2:]]
    sys.exit(subprocess.Popen(command, stdout=log, stderr=log).wait())
