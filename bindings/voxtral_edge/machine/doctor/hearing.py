"""Whether a model hears, and how fast: recordings whose words are known, through `voxtral bench`.

A model is asked only for what it says that it understands. The words that come out offline, live
and at the speed of the clock must be the same ones, as the core promises.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import numpy as np

from ...audio import RATE, Samples, read
from ...convert.writing.gguf_file import GgufFile
from ...convert.writing.metadata import SHA256_KEY
from ...text.wer import spoken_words, word_errors
from .. import host
from ..bench.runs import PARTS, measure

Found = host.Found

# What a description says, and the recordings of the package for it; SPEECH is for all others.
LIMITED = {
    "digits": ("digits_1.wav", "digits_2.wav", "digits_3.wav"),
    "orders": ("order_1.wav",),
    "sentences": ("sentence_1.wav",),
}
SPEECH = ("jfk.flac",)
CHUNKS_MS = (80, 480)
GOOD = 0.1  # share of words that may be wrong: two of the 22 in SPEECH
PAUSE_S = 1.0  # between recordings


def recordings(description: str) -> list[str]:
    """Return the recordings that a model so described should understand."""
    plain = spoken_words(description)
    limited = [name for word, names in LIMITED.items() if word in plain for name in names]
    return limited or list(SPEECH)


def hear(path: Path) -> Found:
    """Let a model hear recordings; return what it is and heard, its speed and its memory.

    It takes as long as the recordings, and as long again as the model needs for them three times.
    Raises what Model and Stream raise, ConversionError, or OSError.
    """
    with GgufFile(path) as file:
        keys = {key: value.value for key, value in file.metadata.items()}
    description = str(keys.get("general.description", ""))
    names = recordings(description)
    samples, expected = _clip(names)
    result = measure(path, samples, PARTS, chunks_ms=CHUNKS_MS)
    runs = result["runs"]
    texts = {run["text"] for run in runs.values()}
    heard = judge(expected, runs["offline"]["text"], same=len(texts) == 1)
    lag = {key: runs["paced"][f"lag_{key}_ms"] for key in ("p50", "p95", "max")}
    return {
        "model": {
            "name": result["model"],
            "description": description,
            "type": result["type"],
            "n_params": result["n_params"],
            "n_bytes": path.stat().st_size,
            "weights_sha256": keys.get(SHA256_KEY),
        },
        "recordings": names,
        "audio_s": result["audio_s"],
        "delay_ms": result["delay_ms"],
        **heard,
        "rtf": {
            "offline": runs["offline"]["rtf"],
            **{f"live_{ms}_ms": runs[f"live {ms} ms"]["rtf"] for ms in CHUNKS_MS},
        },
        "lag_ms": lag,
        "load_ms": result["load_ms"],
        "memory": result["memory"],
    }


def judge(expected: str, text: str, *, same: bool) -> Found:
    """Compare a text with what was said; same: whether every kind of run gave this text."""
    wanted, got = spoken_words(expected), spoken_words(text)
    wrong = word_errors(wanted, got)
    rate = wrong / len(wanted)
    if not same:
        verdict = "gives other words live than for files, which must never be: report it"
    elif not got:
        verdict = "hears nothing, so its weights are not trained, or came out wrong"
    elif rate <= GOOD:
        verdict = "hears what was said"
    else:
        verdict = "does not hear what was said, or does not understand English"
    return {
        "expected": expected,
        "text": text,
        "same_text": same,
        "n_words": len(wanted),
        "n_wrong": wrong,
        "word_error_rate": rate,
        "passed": same and rate <= GOOD,
        "verdict": verdict,
    }


def _clip(names: list[str]) -> tuple[Samples, str]:
    """Recordings of the package and their words, with a pause after each."""
    folder, parts, words = resources.files("voxtral_edge") / "samples", [], []
    for name in names:
        with resources.as_file(folder / name) as file:
            parts += [*read(file), np.zeros(round(PAUSE_S * RATE), np.float32)]
        text = folder / f"{name.partition('.')[0]}.txt"
        words.append(text.read_text(encoding="utf-8").strip())
    return np.concatenate(parts), " ".join(words)
