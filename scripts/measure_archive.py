"""What a file costs beside its audio: python scripts/measure_archive.py [--ray ADDRESS] [--files N]

An archive of many clips of a tenth of a second, so that little is computed for each. Printed is the
processor time of the foreman and, without Ray, of its worker, per file, and the time of the clock.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile
import voxtral_edge as vox
from voxtral_edge import cli


def seconds(who: int) -> float:
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--ray", metavar="ADDRESS")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "talks").mkdir()
        clip = folder / "clip.wav"
        soundfile.write(clip, np.zeros(vox.RATE // 10, np.float32), vox.RATE)
        for i in range(args.files):
            shutil.copy(clip, folder / "talks" / f"{i:06}.wav")
        words = ["archive", f"{folder}/talks", "-o", f"{folder}/texts", "--format", "jsonl"]
        words += ["--quiet", *(["--ray", args.ray] if args.ray else [])]
        own, others, began = (
            seconds(resource.RUSAGE_SELF), seconds(resource.RUSAGE_CHILDREN), time.monotonic()
        )  # fmt: skip
        assert cli.main(words) == 0
        own = seconds(resource.RUSAGE_SELF) - own
        others = seconds(resource.RUSAGE_CHILDREN) - others
        passed = time.monotonic() - began
    n = args.files
    print(f"{n} files: foreman {1000 * own / n:.2f} ms, worker {1000 * others / n:.2f} ms of a "
          f"processor; {1000 * passed / n:.2f} ms by the clock")  # fmt: skip


if __name__ == "__main__":
    main()
