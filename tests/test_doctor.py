"""voxtral doctor: what it finds, what it says of what is missing, and what a model hears."""

from __future__ import annotations

import dataclasses
import json
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import voxtral_edge as vox
from conftest import SAMPLES, Main
from tiny_model import write_official
from voxtral_edge import cli
from voxtral_edge.convert import convert
from voxtral_edge.machine import estimate, host, models
from voxtral_edge.machine.doctor import checks, hearing, page
from voxtral_edge.machine.estimate import passes, weights

DEMO = Path(vox.__file__).with_name("demo.gguf")
ESTIMATE = {
    "type": "q4_k_m", "threads": 2, "is_quiet": True, "others_share": 0.01,
    "pass_ms": {},
    "rtf": {
        "offline": {"least": 0.4, "expected": 0.5, "greatest": 0.6},
        "live_480_ms": {"least": 0.5, "expected": 0.6, "greatest": 0.7},
        "live_80_ms": {"least": 1.0, "expected": 1.1, "greatest": 1.2},
        "live_480_ms_window_full": {"least": 0.6, "expected": 0.8, "greatest": 0.9},
    },
}  # fmt: skip


@pytest.fixture
def main(main: Main, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Main:
    """Run the command in this process, with an estimate that is known and an empty data folder."""
    monkeypatch.setattr(estimate, "estimate", lambda: ESTIMATE)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    return main


def found(main: Main, *args: object, status: int = 0) -> dict[str, Any]:
    done = main("doctor", "--json", *args)
    assert done[0] == status
    return json.loads(done[1])


def rows(out: str) -> dict[str, str]:
    return {line[:10].strip(): line[12:] for line in out.splitlines()}


# ---- the machine --------------------------------------------------------------------------------


def test_what_is_found(main: Main, demo: vox.Model) -> None:
    machine = found(main)
    assert machine["versions"]["voxtral_edge"] == vox.__version__
    assert machine["versions"]["python"] == platform.python_version()
    assert machine["versions"]["ggml"].startswith("0.")
    assert machine["machine"]["cpu"] == host.describe()["cpu"]
    words = (SAMPLES / "digits_1.txt").read_text(encoding="utf-8").strip()
    assert machine["self_test"]["passed"] and machine["self_test"]["text"] == words
    assert machine["self_test"]["kernels"] == demo.kernels
    assert machine["models"] == []
    memory = machine["memory"]
    assert 0 < memory["available_bytes"] <= memory["total_bytes"]
    assert memory["weight_bytes"] == pytest.approx(2.84e9 if memory["fits"] else 2.5e9, rel=0.02)
    assert {"error"} == set(machine["microphone"]) or "devices" in machine["microphone"]
    assert machine["estimate"] == ESTIMATE and "hearing" not in machine


def test_plain_kernels_are_told(main: Main, monkeypatch: pytest.MonkeyPatch) -> None:
    real = checks._self_test
    monkeypatch.setattr(checks, "_self_test", lambda: {**real(), "kernels": "portable"})
    _, out, _ = main("doctor")
    assert rows(out)["kernels"].startswith("portable: ") and "slow" in rows(out)["kernels"]


@pytest.mark.parametrize(
    ("gb", "says"),
    [
        (16.0, "16.0 GB; the 4B model, q4_k_m, fits: 2.8 GB, and up to 1.1 GB per stream"),
        (4.0, "4.0 GB; the 4B model, q4_k_m, fits with --window 610: 2.8 GB, and up to 1.0 GB per"),
        (3.4, "3.4 GB; the 4B model, q4_k_m, fits with --window 160: 2.8 GB, and up to 0.4 GB per"),
        (3.1, "3.1 GB; the 4B model, q4_0, fits with --window 160: 2.5 GB, and up to 0.4 GB per"),
        (2.0, "2.0 GB; the 4B model, q4_0, does not fit now, not even with --window 60: 2.5 GB, "),
    ],
)
def test_what_fits_into_memory(gb: float, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voxtral_edge.system.here.memory", lambda: (round(gb * 1e9), None))
    memory = checks._memory()
    assert page._memory(memory).startswith(says)
    if memory["fits"]:
        assert memory["weight_bytes"] + memory["stream_bytes"] < gb * 1e9 - 1e8


def test_text(main: Main, tmp_path: Path, tiny_path: Path) -> None:
    store = tmp_path / "voxtral-edge" / "models"
    store.mkdir(parents=True)
    (store / "mine.gguf").symlink_to(tiny_path)
    status, out, errors = main("doctor")
    assert (status, errors) == (0, "")
    assert list(rows(out)) == [
        "voxtral", "python", "system", "processor", "features", "kernels", "memory",
        "microphone", "media", "models", "self-test", "4B model", "",
    ]  # fmt: skip
    assert rows(out)["models"] == "mine"
    assert rows(out)["self-test"].startswith("passed, 6.0 s of audio in ")
    assert out.splitlines()[-4:] == [
        "            RTF 0.50 (0.40 to 0.60) for files",
        "            RTF 0.60 (0.50 to 0.70) live in 480 ms chunks",
        "            RTF 1.10 (1.00 to 1.20) live in 80 ms chunks",
        "            RTF 0.80 (0.60 to 0.90) live in 480 ms chunks from minute 11 on",
    ]


def test_limits_of_control_groups(
    main: Main, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    linux = pytest.importorskip("voxtral_edge.system.linux")
    (tmp_path / "memory.max").write_text("3000000000\n")
    (tmp_path / "memory.current").write_text("1000000000\n")
    monkeypatch.setattr(linux, "GROUPS", tmp_path)
    monkeypatch.setattr(linux, "_groups", lambda: iter([tmp_path]))
    monkeypatch.setattr(host, "quota", lambda: 1.5)
    out = rows(main("doctor")[1])
    assert "of which 1.5 may be used (the limit of a control group)" in out["processor"]
    assert out["memory"].startswith("3.0 GB, 2.0 GB of it available; the 4B model, q4_0, does not")


def test_a_failed_self_test(main: Main, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only this is a failure of the command; all the rest is reported nevertheless."""
    with monkeypatch.context() as patch:
        patch.setattr(checks, "SAMPLE", "digits_2")
        wrong = dataclasses.replace
        transcribe = vox.Model.transcribe
        patch.setattr(vox.Model, "transcribe", lambda m, a: wrong(transcribe(m, a), text="no"))
        status, out, _ = main("doctor")
        assert status == 1
        assert "FAILED: heard 'no', not 'three eight eight two eight'" in out

    def fail(model: vox.Model, audio: object) -> None:
        raise vox.ComputeError("the model gave values that are not finite")

    monkeypatch.setattr(vox.Model, "transcribe", fail)
    status, out, _ = main("doctor")
    assert status == 1
    assert "FAILED: the model gave values that are not finite" in out and "4B model" in out


def test_what_is_missing_stops_nothing(main: Main, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object) -> None:
        raise RuntimeError("PortAudio is not well")

    def homeless() -> None:
        raise RuntimeError("there is no home directory")

    monkeypatch.setattr(checks, "devices", broken)
    monkeypatch.setattr(models, "folder", homeless)
    monkeypatch.setitem(sys.modules, "av", None)
    machine = found(main)
    assert machine["microphone"] == {"error": "PortAudio is not well"}
    assert machine["models"] == {"error": "there is no home directory"}
    assert machine["media"]["error"].startswith("only plain WAV files and raw samples are read (")
    out = rows(main("doctor")[1])
    assert out["models"] == "there is no home directory"
    assert out["media"] == machine["media"]["error"]


def test_no_room_for_the_estimate(main: Main, monkeypatch: pytest.MonkeyPatch) -> None:
    def full() -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(estimate, "estimate", full)
    status, out, errors = main("doctor")
    assert (status, errors) == (0, "")
    assert "no estimate: [Errno 28] No space left on device" in out


# ---- what is said of the estimate ---------------------------------------------------------------


def said(scale: float = 1.0, **changes: object) -> str:
    rtf = {
        run: {key: scale * value for key, value in values.items()}
        for run, values in ESTIMATE["rtf"].items()
    }
    return "\n".join(text for _, text in page._estimate({**ESTIMATE, "rtf": rtf, **changes}))


@pytest.mark.parametrize(
    ("scale", "verdict"),
    [
        (0.5, "keeps up with speech, slot by slot"),
        (1.0, "keeps up with speech, several slots of 80 ms at a time"),
        (1.3, "keeps up with speech in the first minutes of a stream, not from minute 11 on"),
        (1.7, "about as fast as speech"),
        (3.0, "slower than speech"),
    ],
)
def test_verdicts(scale: float, verdict: str) -> None:
    assert said(scale).startswith(f"{verdict}; estimated for q4_k_m, 2 threads, ")
    assert f"RTF {0.5 * scale:.2f} ({0.4 * scale:.2f} to {0.6 * scale:.2f}) for files" in said(
        scale
    )


def test_a_busy_machine() -> None:
    """Others make passes slower, never faster: what is measured is the most that it can be."""
    text = said(is_quiet=False, others_share=0.42)
    assert text.startswith("other programs took 42% of the processors meanwhile. Without them it ")
    assert "keeps up with speech: RTF 0.50 or less for files, 0.60 or less live" in text
    text = said(3.0, is_quiet=False, others_share=0.9)
    assert "cannot be said: stop them, or ask again later" in text
    assert "RTF" not in text and "slower" not in text


# ---- a model that is there ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("description", "names"),
    [
        ("Streaming speech to text in 13 languages", ["jfk.flac"]),
        ("", ["jfk.flac"]),
        ("English digits only", ["digits_1.wav", "digits_2.wav", "digits_3.wav"]),
        ("it understands digits, coffee orders, and sentences of 371 words",
         ["digits_1.wav", "digits_2.wav", "digits_3.wav", "order_1.wav", "sentence_1.wav"]),
    ],
)  # fmt: skip
def test_recordings_are_those_that_a_model_understands(description: str, names: list[str]) -> None:
    assert hearing.recordings(description) == names


def test_every_recording_has_its_words() -> None:
    names = [name for names in hearing.LIMITED.values() for name in names]
    assert len(hearing._clip(names)[1].split()) == 34
    samples, words = hearing._clip(list(hearing.SPEECH))
    assert len(samples) == (11 + 1) * vox.RATE and len(words.split()) == 22
    assert words.startswith("and so my fellow americans ask not what your country can do for you")


@pytest.mark.parametrize(
    ("text", "same", "n_wrong", "passed", "verdict"),
    [
        ("And so, my fellow Americans: ask NOT!", True, 0, True, "hears what was said"),
        ("and so my fellow american ask not", True, 1, False, "does not hear what was said"),
        ("", True, 7, False, "hears nothing"),
        (" ... ", True, 7, False, "hears nothing"),
        ("and so my fellow americans ask not", False, 0, False, "gives other words live"),
    ],
)
def test_judgement(text: str, same: bool, n_wrong: int, passed: bool, verdict: str) -> None:
    found = hearing.judge("and so my fellow americans ask not", text, same=same)
    assert (found["n_words"], found["n_wrong"], found["passed"]) == (7, n_wrong, passed)
    assert found["verdict"].startswith(verdict)
    assert found["word_error_rate"] == n_wrong / 7


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """The shortest recordings only, for one of the runs takes as long as they are."""
    monkeypatch.setattr(hearing, "LIMITED", {"digits": ("digits_3.wav",)})
    monkeypatch.setattr(hearing, "SPEECH", ("sentence_1.wav",))


def test_a_model_that_hears(main: Main, short: None) -> None:
    result = found(main, "-m", DEMO)
    assert "estimate" not in result
    heard = result["hearing"]
    assert heard["passed"] and heard["same_text"] and heard["recordings"] == ["digits_3.wav"]
    assert (heard["n_words"], heard["n_wrong"], heard["word_error_rate"]) == (4, 0, 0.0)
    assert heard["expected"] == heard["text"] == "three zero four six"
    assert heard["model"]["name"] == "Voxtral Edge demo"
    assert heard["model"]["n_bytes"] == DEMO.stat().st_size
    assert len(heard["model"]["weights_sha256"]) == 64
    assert list(heard["rtf"]) == ["offline", "live_80_ms", "live_480_ms"]
    assert 0 < heard["lag_ms"]["p50"] <= heard["lag_ms"]["p95"] <= heard["lag_ms"]["max"]
    assert heard["memory"]["weight_bytes"] > 0
    text = page.report(result)
    assert rows(text)["hearing"] == "passed: hears what was said; 0 of 4 words wrong (0.0%)"
    assert {"model", "recording", "speed", "lag", "peak"} <= rows(text).keys()


def test_a_random_model_hears_nothing_that_was_said(
    main: Main, short: None, tmp_path: Path
) -> None:
    path = tmp_path / "random.gguf"
    convert(write_official(tmp_path / "random", seed=5), path, type="f32")
    result = found(main, "-m", path, status=1)["hearing"]
    assert not result["passed"] and result["same_text"]
    assert result["recordings"] == ["sentence_1.wav"]
    assert result["word_error_rate"] >= 0.9
    assert result["verdict"].startswith(("hears nothing", "does not hear what was said"))


def test_a_model_that_fails(main: Main, short: None, patched: Callable[[str, float], Path]) -> None:
    status, out, _ = main("doctor", "-m", patched("dec.norm.weight", float("nan")))
    assert status == 1
    assert "FAILED: the model gave values that are not finite" in rows(out)["model"]
    status, out, errors = main("doctor", "-m", "nowhere")
    assert (status, out) == (2, "") and "there is no model file nowhere" in errors


# ---- all of it ----------------------------------------------------------------------------------


def test_with_an_estimate(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The command measures, with small sizes here, and what it says is what it measured."""
    stacks = {
        name: dataclasses.replace(getattr(weights.PUBLISHED, name), dim=256, hidden_dim=512,
                                  n_heads=4, n_kv_heads=4)
        for name in ("encoder", "decoder")
    }  # fmt: skip
    monkeypatch.setattr(weights, "PUBLISHED", dataclasses.replace(weights.PUBLISHED, **stacks))
    monkeypatch.setattr(passes, "N_QUIET", 1)
    monkeypatch.setattr(passes, "QUIET", 2.0)
    monkeypatch.setattr(estimate, "N_LEFT_PAD", 4)
    monkeypatch.setattr(estimate, "N_RING_PADS", (4, 40))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert cli.main(["doctor", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)["estimate"]
    assert result["is_quiet"]
    for rtf in result["rtf"].values():
        assert 0 < rtf["least"] < rtf["expected"] < rtf["greatest"]
    assert set(result["pass_ms"]) == {"mel", "encoder", "decoder", "head"}
