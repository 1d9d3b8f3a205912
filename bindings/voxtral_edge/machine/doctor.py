"""What this machine is to the model, in a page that fits a bug report: `voxtral doctor`.

examine() returns a dictionary that is written as JSON as it is; report() makes text of it. Only the
self-test decides whether all is well: what else is missing may not be wanted.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import subprocess
import sys
import time
from importlib import metadata, resources
from pathlib import Path
from typing import Any

from .. import __version__
from .._voxtral import ffi, lib
from ..audio import ffmpeg
from ..audio.live import devices
from ..cli.terminal import complain, write
from ..errors import VoxtralError
from ..streaming.model import Model
from ..streaming.stream import SLOT_MS
from . import bench, models

Found = dict[str, Any]

SAMPLE = "digits_1"  # a recording that comes with the package, and its words
PACKAGES = ("numpy", "gguf", "soundfile", "soxr", "rich", "huggingface-hub", "sounddevice")
ANSWER_S = 10.0  # the longest wait for another program

ABOUT = """\
Look at this machine: processor, memory, microphone, ffmpeg, versions, a self-test with the demo
model, and how fast the 4B model would be. It takes some seconds, a third of a gigabyte of memory,
and as much of temporary files. The output fits a bug report. The exit status is 1 if the self-test
fails, else 0.

The speed is extrapolated from a model of the 4B model's widths with few layers and random weights,
at the begin of a stream, with no token guessed ahead, which real speech allows. Run it on an idle
machine.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument("--json", action="store_true", help="print an object instead of text")


def run(args: argparse.Namespace) -> int:
    """Run the command with parsed options; return 0, or 1 if the self-test failed."""
    if sys.stderr.isatty():
        complain("measuring, which takes some seconds")
    found = examine()
    write(json.dumps(found, indent=1) + "\n" if args.json else report(found))
    return 0 if found["self_test"]["passed"] else 1


def examine() -> Found:
    """Return all that can be found out; what cannot be is a text under "error"."""
    return {
        "versions": _versions(),
        "machine": bench.machine(),
        "self_test": _self_test(),
        "memory": _memory(),
        "microphone": _microphone(),
        "ffmpeg": _ffmpeg(),
        "models": [
            {"name": model.name, "type": model.type, "n_bytes": model.n_bytes}
            for model in models.stored()
        ],
        "estimate": _estimate(),
    }


def _versions() -> Found:
    version = ffi.new("char[]", 100)
    lib.vox_ggml_version(version, 100)
    packages: dict[str, str | None] = {}
    for name in PACKAGES:
        try:
            packages[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            packages[name] = None
    return {
        "voxtral_edge": __version__,
        "ggml": ffi.string(version).decode(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "distribution": _distribution(),
        "packages": packages,
    }


def _distribution() -> str | None:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME")
    except OSError:
        return None


def _self_test() -> Found:
    """Transcribe a recording of the package with the demo model."""
    folder = resources.files("voxtral_edge") / "samples"
    expected = (folder / f"{SAMPLE}.txt").read_text(encoding="utf-8").strip()
    start = time.monotonic()
    try:
        with Model() as model, resources.as_file(folder / f"{SAMPLE}.wav") as sample:
            heard = model.transcribe(sample)
            return {
                "passed": heard.text == expected,
                "expected": expected,
                "text": heard.text,
                "kernels": model.kernels,
                "seconds": time.monotonic() - start,
                "audio_s": heard.duration_s,
            }
    except (VoxtralError, OSError) as error:
        return {"passed": False, "expected": expected, "error": str(error)}


def _memory() -> Found:
    """Bytes that are there, and those that the 4B model needs."""
    from . import estimate

    total, available = bench.machine()["memory_bytes"], None
    try:
        text = Path("/proc/meminfo").read_text(encoding="utf-8")
        if line := re.search(r"^MemAvailable: +(\d+) kB", text, re.MULTILINE):
            available = 1024 * int(line[1])
        # A container may be allowed less than the machine has.
        group = Path("/sys/fs/cgroup")
        limit = (group / "memory.max").read_text().strip()
        if limit.isdecimal() and int(limit) < total:
            total = int(limit)
            used = int((group / "memory.current").read_text())
            available = min(available or total, max(total - used, 0))
    except (OSError, ValueError):
        pass
    return {
        "total_bytes": total,
        "available_bytes": available,
        "type": estimate.TYPE,
        "weight_bytes": estimate.weight_bytes(estimate.PUBLISHED, estimate.TYPE),
        "stream_bytes": estimate.stream_bytes(estimate.PUBLISHED),
    }


def _microphone() -> Found:
    try:
        found = devices()
    except Exception as error:  # of PortAudio as well, whose errors are not at hand without it
        return {"error": str(error)}
    names = [device.name for device in found]
    default = next((device.name for device in found if device.is_default), None)
    return {"devices": names, "default": default}


def _ffmpeg() -> Found:
    program = ffmpeg.find()
    if program is None:
        return {"error": "not on PATH: only what libsndfile knows is read, no video"}
    try:
        said = subprocess.run(
            [program, "-version"], capture_output=True, stdin=subprocess.DEVNULL, timeout=ANSWER_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return {"path": program, "error": str(error)}
    first = said.stdout.decode(errors="replace").partition("\n")[0]
    return {"path": program, "version": first.partition(" Copyright")[0]}


def _estimate() -> Found:
    from .estimate import estimate

    try:
        return estimate()
    except (VoxtralError, OSError) as error:
        return {"error": str(error)}


# ---- report -------------------------------------------------------------------------------------


def report(found: Found) -> str:
    """Return what examine() found as text, a line or two for each part."""
    versions, machine = found["versions"], found["machine"]
    packages = (f"{name} {version}" for name, version in versions["packages"].items() if version)
    rows = [
        ("voxtral", f"{versions['voxtral_edge']}, ggml {versions['ggml']}"),
        ("python", f"{versions['python']}; {', '.join(packages)}"),
        ("system", ", ".join(filter(None, (versions["system"], versions["distribution"])))),
        ("processor", _processor_text(machine)),
        ("features", " ".join(machine["cpu_flags"]) or "none of those that are used"),
        ("kernels", found["self_test"].get("kernels", "-")),
        ("memory", _memory_text(found["memory"])),
        ("microphone", _microphone_text(found["microphone"])),
        ("ffmpeg", found["ffmpeg"].get("error") or found["ffmpeg"]["version"]),
        ("models", ", ".join(model["name"] for model in found["models"]) or "none stored"),
        ("self-test", _self_test_text(found["self_test"])),
        ("4B model", _estimate_text(found["estimate"])),
    ]
    lines = [f"{label:<10}  {text}" for label, text in rows]
    return "\n".join(lines) + "\n"


def _processor_text(machine: Found) -> str:
    text = f"{machine['cpu']}, {machine['n_cpus']} processors, load {machine['load_average']:.1f}"
    if machine["load_average"] > machine["n_cpus"] / 2:
        text += ": other programs run or just did, so the estimate may be too slow: ask again later"
    return text


def _memory_text(memory: Found) -> str:
    needs = memory["weight_bytes"] + memory["stream_bytes"]
    there = (
        memory["total_bytes"] if memory["available_bytes"] is None else memory["available_bytes"]
    )
    available = "" if memory["available_bytes"] is None else f", {_gb(there)} of it available"
    verdict = "fits" if needs < there else "does not fit now"
    return (
        f"{_gb(memory['total_bytes'])}{available}; the 4B model, {memory['type']}, {verdict}: "
        f"{_gb(memory['weight_bytes'])}, and up to {_gb(memory['stream_bytes'])} per stream"
    )


def _microphone_text(microphone: Found) -> str:
    if "error" in microphone:
        return str(microphone["error"])
    n = len(microphone["devices"])
    return f"{n}, the default is {microphone['default']}" if n else "none found"


def _self_test_text(test: Found) -> str:
    if "error" in test:
        return f"FAILED: {test['error']}"
    took = f"{test['audio_s']:.1f} s of audio in {test['seconds']:.1f} s"
    if test["passed"]:
        return f"passed, {took}"
    return f"FAILED: heard {test['text']!r}, not {test['expected']!r}, {took}"


def _estimate_text(estimate: Found) -> str:
    if "error" in estimate:
        return f"no estimate: {estimate['error']}"
    live = estimate["live_ms_per_slot"]
    verdict = "keeps up with speech" if estimate["live_rtf"] < 1 else "slower than speech"
    return (
        f"RTF {estimate['live_rtf']:.2f} live in {SLOT_MS} ms steps ({verdict}), "
        f"{estimate['offline_rtf']:.2f} for files; estimated for {estimate['type']}, "
        f"{estimate['threads']} threads, without guesses\n{'':12}per {SLOT_MS} ms: encoder "
        f"{live['encoder']:.0f} ms, decoder {live['decoder']:.0f} ms"
    )


def _gb(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.1f} GB"
