"""The checks of the machine and of what is installed, none of which stops another."""

from __future__ import annotations

import dataclasses
import platform
import threading
import time
from collections.abc import Callable
from importlib import metadata, resources

import numpy as np

from ... import __version__
from ..._voxtral import ffi, lib
from ...audio import RATE
from ...audio.live import Microphone, devices
from ...audio.loudness import dbfs
from ...errors import VoxtralError
from ...streaming.model import Model
from ...system import here
from .. import host, models, room

Found = host.Found

LISTEN_S = 1.0  # to the microphone
SAMPLE = "digits_1"  # a recording that comes with the package, and its words
PACKAGES = ("numpy", "gguf", "av", "soxr", "rich", "platformdirs", "huggingface-hub",
            "sounddevice")  # fmt: skip


def look() -> Found:
    """Return what each check finds; what cannot be found is a text under "error"."""
    checks: dict[str, Callable[[], object]] = {
        "versions": _versions,
        "machine": host.describe,
        "self_test": _self_test,
        "memory": _memory,
        "microphone": _microphone,
        "media": _media,
        "models": _models,
    }
    return {name: check() for name, check in checks.items()}


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
    """Bytes that this process may have, and what of the 4B model they have room for."""
    total, available = here.memory()
    found = room.find(total if available is None else available)
    return {"total_bytes": total, "available_bytes": available, **dataclasses.asdict(found)}


def _microphone() -> Found:
    try:
        found = devices()
    except Exception as error:  # of PortAudio as well, whose errors are not at hand without it
        return {"error": str(error)}
    names = [device.name for device in found]
    default = next((device.name for device in found if device.is_default), None)
    return {"devices": names, "default": default, "peak_dbfs": _loudest() if default else None}


def _loudest() -> float | None:
    """Listen to the default microphone: how loud its largest sample is; None if it gives none."""
    peak, n_heard = 0.0, 0
    try:
        with Microphone() as microphone:
            timer = threading.Timer(3 * LISTEN_S, microphone.stop)  # some devices never begin
            timer.start()
            for chunk in microphone:
                peak, n_heard = max(peak, float(np.abs(chunk).max(initial=0.0))), n_heard + 1
                if microphone.n_received >= LISTEN_S * RATE:
                    microphone.stop()
            timer.cancel()
    except Exception:  # of PortAudio as well
        return None
    return dbfs(peak) if n_heard else None


def _media() -> Found:
    """The libraries that read video and all but plain WAV files."""
    try:
        import av
    except (ImportError, OSError) as error:
        return {"error": f"only plain WAV files and raw samples are read ({error})"}
    libraries = {name: ".".join(map(str, version)) for name, version in av.library_versions.items()}
    return {"version": av.__version__, "libraries": libraries}


def _models() -> list[Found] | Found:
    try:
        return [
            {"name": model.name, "type": model.type, "n_bytes": model.n_bytes}
            for model in models.stored()
        ]
    except (RuntimeError, OSError, VoxtralError) as error:  # no home directory, a locked one
        return {"error": str(error)}
