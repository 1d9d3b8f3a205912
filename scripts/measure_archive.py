"""What an archive costs: measure_archive.py [--files N] [--seconds S] [--model M] [--ray ADDRESS].

An archive of N files of S seconds, in which the recordings of samples/ are said over and over.
Printed is the processor time, per file, of the foreman and of all others: its worker, or all of a
cluster that is made for it (`--ray local`), of which its start is a part; then the hours of audio
for an hour of a processor, and for an hour by the clock. A tenth of a second, the default, leaves
little but what a file costs beside its audio.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import tempfile
import time
import wave
from pathlib import Path

import numpy as np
import voxtral_edge as vox
from voxtral_edge import cli

SAMPLES = Path(__file__).resolve().parents[1] / "samples"


def speech(n: int) -> np.ndarray:
    """Return n samples."""
    clips = [np.concatenate(list(vox.read(path))) for path in sorted(SAMPLES.glob("*.wav"))]
    return np.resize(np.concatenate(clips), n)


def seconds(who: int) -> float:
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime


def descended() -> float:
    """Return the processor time of all processes that have come from this one and still run."""
    children: dict[int, list[int]] = {}
    used: dict[int, float] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = path.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):  # it has ended
            continue
        children.setdefault(int(words[1]), []).append(pid := int(path.parent.name))
        used[pid] = sum(map(int, words[11:15])) / os.sysconf("SC_CLK_TCK")
    found = [os.getpid()]
    for pid in found:
        found += children.get(pid, [])
    return sum(used[pid] for pid in found[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=1000, metavar="N")
    parser.add_argument("--seconds", type=float, default=0.1, metavar="S")
    parser.add_argument("--model", metavar="M")
    parser.add_argument("--ray", metavar="ADDRESS")
    args = parser.parse_args()
    cluster = [0.0]
    if args.ray:
        import ray

        leave = ray.shutdown

        def look_and_leave() -> None:
            cluster[0] = max(cluster[0], descended())
            leave()

        ray.shutdown = look_and_leave
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "talks").mkdir()
        clip = folder / "clip.wav"
        with wave.open(str(clip), "wb") as file:
            file.setparams((1, 2, vox.RATE, 0, "NONE", ""))
            samples = speech(round(args.seconds * vox.RATE))
            file.writeframes((samples * 32767).astype("<i2").tobytes())
        for i in range(args.files):
            shutil.copy(clip, folder / "talks" / f"{i:06}.wav")
        words = ["archive", f"{folder}/talks", "-o", f"{folder}/texts", "--format", "jsonl"]
        words += ["--quiet", *(["--ray", args.ray] if args.ray else [])]
        words += ["--model", args.model] if args.model else []
        own, others, began = (
            seconds(resource.RUSAGE_SELF), seconds(resource.RUSAGE_CHILDREN), time.monotonic()
        )  # fmt: skip
        assert cli.main(words) == 0
        own = seconds(resource.RUSAGE_SELF) - own
        others = cluster[0] or seconds(resource.RUSAGE_CHILDREN) - others
        passed = time.monotonic() - began
    audio, each_ms = args.files * args.seconds, 1000 / args.files
    print(f"{args.files} files of {args.seconds:g} s: {each_ms * passed:.2f} ms by the clock")
    print(f"processor: foreman {each_ms * own:.2f} ms, others {each_ms * others:.2f} ms")
    print(f"audio: {audio / (own + others):.1f} h for an hour of a processor, "
          f"{audio / passed:.1f} h for an hour by the clock")  # fmt: skip


if __name__ == "__main__":
    main()
