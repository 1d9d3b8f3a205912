"""The page of `voxtral doctor`: what was found as text, a line or two for each part."""

from __future__ import annotations

from typing import Any

from ...audio.loudness import MUTED_DBFS, QUIET_DBFS
from ...console.printable import printable
from ..host import Found


def report(found: Found) -> str:
    """Return what examine() found as text."""
    versions, machine = found["versions"], found["machine"]
    packages = (f"{name} {version}" for name, version in versions["packages"].items() if version)
    rows = [
        ("voxtral", f"{versions['voxtral_edge']}, ggml {versions['ggml']}"),
        ("python", f"{versions['python']}; {', '.join(packages)}"),
        ("system", ", ".join(filter(None, (versions["system"], versions["distribution"])))),
        ("processor", _processor(machine)),
        ("features", " ".join(machine["cpu_flags"]) or "none of those that are used"),
        ("kernels", _kernels(found["self_test"].get("kernels", "-"))),
        ("memory", _memory(found["memory"])),
        ("microphone", _microphone(found["microphone"])),
        ("media", _media(found["media"])),
        ("models", _models(found["models"])),
        ("self-test", _self_test(found["self_test"])),
    ]
    rows += _estimate(found["estimate"]) if "estimate" in found else _hearing(found["hearing"])
    return "".join(f"{label:<10}  {printable(text)}\n" for label, text in rows)


def _processor(machine: Found) -> str:
    text = f"{machine['cpu']}, {machine['n_cpus']} processors"
    if machine["cpu_quota"] is not None:
        text += f", of which {machine['cpu_quota']:g} may be used (the limit of a control group)"
    return text


def _kernels(name: str) -> str:
    return {
        "portable": "portable: none for this processor's vectors, so right but slow",
        "sse4.1": "sse4.1: this processor has no AVX2, so right but several times slower",
    }.get(name, name)


def _memory(memory: Found) -> str:
    there, window_s = memory["available_bytes"], memory["window_s"]
    available = "" if there is None else f", {_gb(there)} of it available"
    verdict = "fits" if memory["fits"] else "does not fit now, not even"
    bound = "" if window_s is None else f" with --window {window_s}"
    model = f"the 4B model, {memory['type']}, {verdict}{bound}"
    return (
        f"{_gb(memory['total_bytes'])}{available}; {model}: {_gb(memory['weight_bytes'])}, and up "
        f"to {_gb(memory['stream_bytes'])} per stream"
    )


def _microphone(microphone: Found) -> str:
    if "error" in microphone:
        return str(microphone["error"])
    n = len(microphone["devices"])
    if not n:
        return "none found"
    text, peak = f"{n}, the default is {microphone['default']}", microphone["peak_dbfs"]
    if peak is None:
        return text
    text += f", which heard up to {peak:.0f} dBFS"
    if peak < MUTED_DBFS:
        return text + ": see whether it is muted"
    hint = ": if somebody spoke, it is too quiet: turn it up, or use --gain auto"
    return text + hint if peak < QUIET_DBFS else text


def _media(media: Found) -> str:
    if "error" in media:
        return str(media["error"])
    return f"PyAV {media['version']}, libavcodec {media['libraries']['libavcodec']}"


def _models(models: Any) -> str:
    if isinstance(models, dict):
        return str(models["error"])
    return ", ".join(model["name"] for model in models) or "none stored"


def _self_test(test: Found) -> str:
    if "error" in test:
        return f"FAILED: {test['error']}"
    took = f"{test['audio_s']:.1f} s of audio in {test['seconds']:.1f} s"
    if test["passed"]:
        return f"passed, {took}"
    return f"FAILED: heard {test['text']!r}, not {test['expected']!r}, {took}"


# ---- the estimate -------------------------------------------------------------------------------


def _estimate(estimate: Found) -> list[tuple[str, str]]:
    if "error" in estimate:
        return [("4B model", f"no estimate: {estimate['error']}")]
    files, chunks, slots, old = (
        estimate["rtf"][run]
        for run in ("offline", "live_480_ms", "live_80_ms", "live_480_ms_window_full")
    )
    of = f"{estimate['type']}, {estimate['threads']} threads"
    if not estimate["is_quiet"]:
        text = f"other programs took {_share(estimate['others_share'])} of the processors meanwhile"
        if chunks["expected"] < 1:  # with passes that were disturbed least: the most it can be
            text += (
                f". Without them it keeps up with speech: RTF {files['expected']:.2f} or less for "
                f"files, {chunks['expected']:.2f} or less live in 480 ms chunks; {of}"
            )
        else:
            text += ", so how fast it would be cannot be said: stop them, or ask again later"
        return [("4B model", text)]
    return [
        (
            "4B model",
            f"{_verdict(chunks, slots, old)}; estimated for {of}, the first minute of speech",
        ),
        ("", f"RTF {_range(files)} for files"),
        ("", f"RTF {_range(chunks)} live in 480 ms chunks"),
        ("", f"RTF {_range(slots)} live in 80 ms chunks"),
        ("", f"RTF {_range(old)} live in 480 ms chunks from minute 11 on"),
    ]


def _share(others: float | None) -> str:
    return "a part" if others is None else f"{others:.0%}"


def _verdict(chunks: Found, slots: Found, old: Found) -> str:
    if chunks["least"] > 1:
        return "slower than speech"
    if chunks["greatest"] > 1:
        return "about as fast as speech"
    if old["expected"] > 1:
        return "keeps up with speech in the first minutes of a stream, not from minute 11 on"
    if slots["greatest"] > 1:
        return "keeps up with speech, several slots of 80 ms at a time"
    return "keeps up with speech, slot by slot"


def _range(rtf: Found) -> str:
    return f"{rtf['expected']:.2f} ({rtf['least']:.2f} to {rtf['greatest']:.2f})"


# ---- a model that is there ----------------------------------------------------------------------


def _hearing(heard: Found) -> list[tuple[str, str]]:
    if "error" in heard:
        return [("model", f"FAILED: {heard['error']}")]
    model, rtf, lag, memory = heard["model"], heard["rtf"], heard["lag_ms"], heard["memory"]
    fingerprint = (model["weights_sha256"] or "unknown")[:16]
    passed = "passed" if heard["passed"] else "FAILED"
    speed = "keeps up with speech" if rtf["live_480_ms"] < 1 else "slower than speech"
    return [
        ("model", f"{model['name']}, {model['type']}, {model['n_params'] / 1e6:.0f} M parameters, "
                  f"{_gb(model['n_bytes'])}, weights {fingerprint}"),
        ("says", model["description"] or "nothing of what it understands"),
        ("recording", f"{', '.join(heard['recordings'])}: {heard['audio_s']:.1f} s"),
        ("spoken", heard["expected"]),
        ("heard", heard["text"] or "nothing"),
        ("hearing", f"{passed}: {heard['verdict']}; {heard['n_wrong']} of {heard['n_words']} words "
                    f"wrong ({heard['word_error_rate']:.1%})"),
        ("speed", f"{speed}: RTF {rtf['offline']:.2f} for files, {rtf['live_480_ms']:.2f} live in "
                  f"480 ms chunks, {rtf['live_80_ms']:.2f} in 80 ms chunks"),
        ("lag", f"{lag['p50']:.0f} ms after the delay of {heard['delay_ms']} ms, {lag['p95']:.0f} "
                f"ms or less in 95 of 100 slots, {lag['max']:.0f} ms at most"),
        ("peak", f"{_gb(memory['peak_rss_bytes'])}: weights {_gb(memory['weight_bytes'])}, stream "
                 f"{_gb(memory['state_bytes'])}"),
    ]  # fmt: skip


def _gb(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.1f} GB"
