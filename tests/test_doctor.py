"""voxtral doctor: what it finds, what it says of what is missing, and the estimate."""

from __future__ import annotations

import dataclasses
import json
import platform
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import voxtral_edge as vox
from conftest import SAMPLES
from voxtral_edge import cli
from voxtral_edge.convert.params import Params
from voxtral_edge.machine import bench, doctor, estimate

Main = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def small() -> Params:
    """Sizes in the place of the published ones, for the sake of time."""
    encoder = dataclasses.replace(estimate.PUBLISHED.encoder, dim=256, hidden_dim=512, n_heads=4,
                                  n_kv_heads=4)  # fmt: skip
    decoder = dataclasses.replace(estimate.PUBLISHED.decoder, dim=256, hidden_dim=512, n_heads=4,
                                  n_kv_heads=2)  # fmt: skip
    return dataclasses.replace(estimate.PUBLISHED, encoder=encoder, decoder=decoder)


@pytest.fixture
def main(
    small: Params,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Main:
    """Run the command in this process, with small sizes and an empty data directory."""
    monkeypatch.setattr(estimate, "PUBLISHED", small)
    monkeypatch.setattr(estimate, "MEASURE_S", 0.0)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))

    def run(*args: object) -> tuple[int, str, str]:
        status = cli.main([*map(str, args)])
        return status, *capsys.readouterr()

    return run


def found(main: Main, status: int = 0) -> dict[str, Any]:
    done = main("doctor", "--json")
    assert (done[0], done[2]) == (status, "")
    return json.loads(done[1])


def test_what_is_found(main: Main, monkeypatch: pytest.MonkeyPatch, demo: vox.Model) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    page = found(main)
    assert page["versions"]["voxtral_edge"] == vox.__version__
    assert page["versions"]["python"] == platform.python_version()
    assert page["versions"]["ggml"].startswith("0.")
    assert page["machine"]["cpu"] == bench.machine()["cpu"]
    words = (SAMPLES / "digits_1.txt").read_text(encoding="utf-8").strip()
    assert page["self_test"]["passed"] and page["self_test"]["text"] == words
    assert page["self_test"]["kernels"] == page["estimate"]["kernels"] == demo.kernels
    assert page["ffmpeg"] == {"error": "not on PATH: only what libsndfile knows is read, no video"}
    assert page["models"] == []
    memory = page["memory"]
    assert 0 < memory["available_bytes"] <= memory["total_bytes"]
    assert {"error"} == set(page["microphone"]) or "devices" in page["microphone"]


def test_text(main: Main, tmp_path: Path, tiny_path: Path) -> None:
    store = tmp_path / "voxtral-edge" / "models"
    store.mkdir(parents=True)
    (store / "mine.gguf").symlink_to(tiny_path)
    status, out, errors = main("doctor")
    assert (status, errors) == (0, "")
    rows = {line[:10].strip(): line[12:] for line in out.splitlines()}
    assert list(rows) == [
        "voxtral", "python", "system", "processor", "features", "kernels", "memory",
        "microphone", "ffmpeg", "models", "self-test", "4B model", "",
    ]  # fmt: skip
    assert rows["models"] == "mine"
    assert rows["self-test"].startswith("passed, 6.0 s of audio in ")
    assert "RTF " in rows["4B model"] and "per 80 ms: encoder " in rows[""]


@pytest.mark.parametrize(("load", "is_busy"), [(0.0, False), (1.0, False), (1.5, True)])
def test_a_busy_machine(
    main: Main, monkeypatch: pytest.MonkeyPatch, load: float, is_busy: bool
) -> None:
    """A machine that has other work is too slow for an estimate: that is said, not hidden."""
    monkeypatch.setattr(bench.os, "getloadavg", lambda: (load, 0.0, 0.0))
    monkeypatch.setattr(bench.os, "sched_getaffinity", lambda pid: {0, 1})
    code, out, _ = main("doctor")
    assert code == 0
    assert ("other programs run" in out) == is_busy


def test_a_failed_self_test(main: Main, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only this is a failure of the command; all the rest is reported nevertheless."""
    with monkeypatch.context() as patch:
        patch.setattr(doctor, "SAMPLE", "digits_2")
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


def test_no_room_for_the_estimate(main: Main, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimate, "write_header", full)
    status, out, errors = main("doctor")
    assert (status, errors) == (0, "")
    assert "no estimate: [Errno 28] No space left on device" in out


def full(*args: object) -> None:
    raise OSError(28, "No space left on device")


def test_programs_and_devices_that_fail(main: Main, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise RuntimeError("PortAudio is not well")

    def slow(*args: object, **options: object) -> None:
        raise subprocess.TimeoutExpired("ffmpeg", 10)

    monkeypatch.setattr(doctor, "devices", broken)
    monkeypatch.setattr(doctor.ffmpeg, "find", lambda: "/somewhere/ffmpeg")
    monkeypatch.setattr(doctor.subprocess, "run", slow)
    page = found(main)
    assert page["microphone"] == {"error": "PortAudio is not well"}
    assert page["ffmpeg"]["path"] == "/somewhere/ffmpeg" and "timed out" in page["ffmpeg"]["error"]


# ---- the estimate -------------------------------------------------------------------------------


def test_sizes_are_those_of_the_published_model() -> None:
    """params.json: 4,429.7 M parameters; a file of q4_0 is 2.5 GB."""
    assert estimate.weight_bytes(estimate.PUBLISHED, "f32") // 4 == pytest.approx(
        4_429.7e6, rel=1e-4
    )
    assert estimate.weight_bytes(estimate.PUBLISHED, "q4_0") == pytest.approx(2.53e9, rel=0.01)
    assert estimate.stream_bytes(estimate.PUBLISHED) == 2 * 2 * (
        32 * 750 * 32 * 64 + 26 * 8192 * 8 * 128
    )


def test_formula(main: Main, small: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stages grow with the bytes of their weights, and their sum over a slot is the RTF."""
    one = {"mel": 1.0, "encoder": 2.0, "decoder": 3.0, "head": 4.0}
    monkeypatch.setattr(estimate, "_run", lambda stream: (one, 1.0))
    result = estimate.estimate(threads=1)
    vocabulary = dataclasses.replace(
        small,
        n_vocab=vox_vocabulary(),
        encoder=dataclasses.replace(small.encoder, n_layers=estimate.N_ENCODER_LAYERS),
        decoder=dataclasses.replace(small.decoder, n_layers=estimate.N_DECODER_LAYERS),
    )
    encoder, decoder = (estimate._ratio(vocabulary, part) for part in ("encoder", "decoder"))
    assert 1 < encoder < 32 / estimate.N_ENCODER_LAYERS
    assert decoder > 26 / estimate.N_DECODER_LAYERS
    assert result["live_rtf"] == pytest.approx((1 + 2 * encoder + 7 * decoder) / 80)
    assert result["offline_rtf"] == pytest.approx((1 + 1 * encoder + 7 * decoder) / 80)
    assert result["threads"] == 1


def vox_vocabulary() -> int:
    with vox.Model() as model:
        return model.n_vocab


def test_nothing_stays_behind(main: Main, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(estimate.tempfile, "tempdir", str(folder))
    result = estimate.estimate(threads=1)
    assert all(ms > 0 for ms in result["live_ms_per_slot"].values())
    assert list(folder.iterdir()) == []
