"""`voxtral bench`: its counts agree with each other and with the stream; times are not judged."""

from __future__ import annotations

import copy
import json
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import voxtral_edge as vox
from conftest import SAMPLES, Main
from voxtral_edge import cli
from voxtral_edge.machine import bench
from voxtral_edge.machine.bench import streams
from voxtral_edge.machine.bench.runs import PARTS
from voxtral_edge.machine.bench.slots import Result

CLIP = SAMPLES / "sentence_1.wav"
TABLES_SCRIPT = SAMPLES.parent / "scripts" / "bench_tables.py"
TABLES = runpy.run_path(str(TABLES_SCRIPT))
RUNS = ["offline", "live 80 ms", "live 160 ms", "live 320 ms", "live 480 ms", "paced"]


@pytest.fixture(scope="module")
def samples() -> np.ndarray:
    return np.concatenate(list(vox.read(CLIP)))


@pytest.fixture(scope="module")
def result(samples: np.ndarray) -> Result:
    return bench.measure(None, samples, threads=1, late_ms=1e-6)


def test_every_run_hears_the_same(result: Result, samples: np.ndarray) -> None:
    assert list(result["runs"]) == RUNS
    for run in result["runs"].values():
        assert run["n_slots"] == -(-len(samples) // 1280) + 10
        assert run["text"] == CLIP.with_suffix(".txt").read_text().strip()
        assert 0 < run["n_words"] < run["n_pads"] < run["n_slots"]


def test_passes_add_up(result: Result) -> None:
    for run in result["runs"].values():
        assert 0 <= run["n_agreed"] <= run["n_drafted"]
        stages = run["stages"]
        assert list(stages) == ["mel", "encoder", "prefill", "decoder", "head"]
        # The end of the silence at the start, and as many slots more as the delay has.
        assert stages["prefill"]["n_slots"] == 1 + 6
        assert stages["encoder"]["n_slots"] == stages["mel"]["n_slots"] == 1 + 6 + run["n_slots"]
        # The first slot comes out of the prompt's last pass, the others of the decoder's.
        assert stages["decoder"]["n_passes"] == run["n_decoder_passes"]
        refused = run["n_drafted"] - run["n_agreed"]
        assert run["n_slots"] - 1 <= stages["decoder"]["n_slots"]
        assert stages["head"]["n_slots"] == run["n_slots"] + refused
        # The prompt's last pass speaks too, unless the audio of the first slot came after it.
        assert stages["head"]["n_passes"] - run["n_decoder_passes"] in (0, 1)
        # No stage lies within another, and all of them within the run.
        assert 0 < sum(stage["ms_per_audio_s"] for stage in stages.values()) < 1000 * run["rtf"]
        for name, stage in stages.items():
            widths = stage["by_width"]
            n_passes = sum(each["n_passes"] for each in widths.values())
            n_slots = sum(int(width) * each["n_passes"] for width, each in widths.items())
            if name in ("decoder", "head"):  # of which each pass brings out a slot
                assert (n_passes, n_slots) == (stage["n_passes"], stage["n_slots"])
            assert 0 < n_passes <= stage["n_passes"]
            assert n_slots <= stage["n_slots"]
            assert 0 < stage["p50_ms"] <= stage["p95_ms"]


def test_a_stream_that_has_heard_something(result: Result, samples: np.ndarray) -> None:
    old = bench.measure(None, samples, PARTS, threads=1, chunks_ms=(480,), heard_s=5.0)
    assert list(old["runs"]) == ["offline", "live 480 ms", "paced"]
    texts, young = set(), result["runs"]["paced"]
    for name, run in old["runs"].items():
        # What was heard before still waits for as many slots as the delay has, and for one more.
        assert run["n_slots"] == -(-(80000 + len(samples)) // 1280) + 10 - (62 - 6)
        assert run["stages"]["prefill"]["n_passes"] == 0
        assert run["stages"]["encoder"]["n_slots"] == run["n_slots"]
        assert run["n_decoder_passes"] == run["stages"]["decoder"]["n_passes"]
        assert run["n_slots"] <= run["n_decoder_passes"] + run["n_agreed"], name
        texts.add(run["text"])
    (text,) = texts
    assert text.endswith(CLIP.with_suffix(".txt").read_text().strip())
    due = old["runs"]["paced"]["due_s"]  # 5 s are 62 slots and a half
    np.testing.assert_allclose(np.diff(due), 0.08)
    assert 0 < due[0] <= 0.08 + 0.02 and len(due) >= len(young["due_s"]) + 6
    assert min(old["runs"]["paced"]["lag_ms"]) > 0


def test_lag_counts_slots_whose_audio_was_heard(result: Result, samples: np.ndarray) -> None:
    paced = result["runs"]["paced"]
    # A slot hears 6 more, and 40 samples; audio arrives by 320 samples.
    n = (len(samples) - 40) // 1280 - 6
    np.testing.assert_allclose(paced["due_s"], 0.08 * np.arange(7, 7 + n) + 0.02)
    assert len(paced["lag_ms"]) == n
    assert min(paced["lag_ms"]) > 0  # no slot comes before its audio
    assert paced["lag_p50_ms"] <= paced["lag_p95_ms"] <= paced["lag_max_ms"] == max(paced["lag_ms"])
    assert paced["late_share"] == 1.0  # than a nanosecond
    assert paced["first_text_s"] * 1000 > paced["first_text_lag_ms"] > 0


def test_memory_and_machine(result: Result, demo: vox.Model) -> None:
    memory = result["memory"]
    assert memory["weight_bytes"] == demo.n_bytes
    parts = memory["weight_bytes"] + memory["state_bytes"] + memory["scratch_bytes"]
    assert 0 < parts < memory["peak_rss_bytes"]
    assert result["machine"]["n_cpus"] >= 1
    assert result["delay_ms"] == demo.default_delay_ms
    assert len(result["streams"]) == 2


def test_the_clip_of_the_package() -> None:
    expected = np.concatenate([b for p in sorted(SAMPLES.glob("*.wav")) for b in vox.read(p)])
    np.testing.assert_array_equal(bench._clip(None, None), expected)
    twice = bench._clip(None, 2 * len(expected) / vox.RATE)
    np.testing.assert_array_equal(twice, np.concatenate([expected, expected]))


def test_a_terminal_shows_progress(
    samples: np.ndarray, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr("voxtral_edge.machine.bench.slots.PROGRESS_S", 0.0)
    run = bench.measure(None, samples, ("offline",))["runs"]["offline"]
    first, *lines = capsys.readouterr().err.splitlines()
    assert first == "voxtral: measuring offline"
    assert len(lines) == run["n_slots"]
    assert lines[0] == f"\x1b[A{first}: 0 of 2 s"
    assert lines[-1] == f"\x1b[A{first}: 2 of 2 s"


def test_a_clip_too_short_for_a_slot_of_its_own(samples: np.ndarray) -> None:
    result = bench.measure(None, samples[:1000], delay_ms=2400)
    for run in result["runs"].values():
        assert run["n_slots"] == 11
    assert result["runs"]["paced"]["lag_p95_ms"] is None
    assert "lag p50 - ms" in bench.report(result)


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    files = tmp_path / "bench.json", tmp_path / "lag.png"
    command = f"bench --audio {CLIP} {CLIP} --seconds 0.9 --delay 80 --threads 1 --parts paced"
    options = ["--late", "250", "--json", str(files[0]), "--plot", str(files[1])]
    assert cli.main([*command.split(), *options]) == 0
    output = capsys.readouterr()
    assert "later than 250 ms" in output.out
    assert output.err == "voxtral: measuring paced\n"
    result = json.loads(files[0].read_text())
    assert (result["delay_ms"], result["threads"], result["audio_s"]) == (80, 1, 0.9)
    assert list(result["runs"]) == ["paced"]
    assert files[1].read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--audio", CLIP, "--seconds", "0"], "0 is not a positive number"),
        (["--audio", CLIP, "--seconds", "nan"], "nan is not a positive number"),
        (["--audio", CLIP, "--threads", "0"], "0 is not a whole number"),
        (["--audio", CLIP, "--delay", "100"], "invalid choice: 100"),
        (["--audio", CLIP, "--parts", "offline,fast"], "fast is none of offline, live, paced"),
        (["--audio", CLIP, "--parts", ""], "nothing is none of"),
        (["--audio", "nowhere.wav"], "nowhere.wav: No such file"),
        (["--audio", CLIP, "--model", "nowhere.gguf"], "no model file nowhere.gguf"),
        (["--audio", CLIP, "--json", "nowhere/b.json"], "the folder nowhere does not exist"),
        (["--audio", CLIP, "--plot", "a.png", "--parts", "live"], "add paced to --parts"),
        (["--audio", CLIP, "--streams", "2", "--plot", "a.png"], "add paced to --parts"),
        (["--audio", CLIP, "--streams", "0"], "0 is not a whole number"),
        (["--audio", CLIP, "--plot", "a.txt"], "must end with one of .png"),
        (["--audio", CLIP, "--plot", "a.png"], "--plot needs matplotlib: pip install"),
    ],
)
def test_wrong_options(
    options: list[object], message: str, main: Main, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # as if it were not installed
    status, shown, complaint = main("bench", *options)
    assert (status, shown) == (2, "")
    assert message in complaint
    assert len(complaint.splitlines()) == 1


# ---- tables -------------------------------------------------------------------------------------


def cells(text: str) -> dict[tuple[str, ...], list[str]]:
    """Rows of all tables: what names a row, in its first one or two cells, and the rest.

    Where names are the same, those of the first row count.
    """
    rows = [[cell.strip() for cell in x.strip("|").split("|")] for x in text.splitlines()]
    return {tuple(row[:n]): row[n:] for row in reversed(rows) for n in (1, 2)}


def test_tables_of_equal_runs(result: Result) -> None:
    rows = cells(TABLES["bench"]([result, result]))
    offline = result["runs"]["offline"]
    assert rows["offline",][0] == f"{offline['rtf']:.3f}"
    decoder = offline["stages"]["decoder"]
    assert rows["offline", "decoder"][0] == str(decoder["n_passes"])
    assert rows["offline", "decoder"][2] == f"{decoder['p50_ms']:.2f}"
    assert rows["weights, MB",] == [f"{result['memory']['weight_bytes'] / 1e6:.0f}"]
    assert rows["greatest",] == [f"{result['runs']['paced']['lag_max_ms']:.0f}"]
    assert {name for name, *rest in rows if len(rest) == 1} >= {*RUNS, "encoder", "head"}


def test_tables_give_the_median_and_the_spread(result: Result) -> None:
    results = [copy.deepcopy(result) for _ in range(3)]
    for each, rtf, lag in zip(results, (0.5, 2.0, 0.25), (None, 1.0, 3.0), strict=True):
        each["runs"]["offline"]["rtf"] = rtf
        each["runs"]["paced"]["lag_max_ms"] = lag
    rows = cells(TABLES["bench"](results))
    assert rows["offline",][0] == "0.500 (0.250 to 2.000)"
    assert rows["greatest",] == ["2 (1 to 3)"]


def test_tables_side_by_side() -> None:
    runs = [
        {"program": program, "mode": "live", "rtf": rtf, "peak_rss_mb": 10.0}
        for program, rtf in (("ours", 0.5), ("peer", 4.0), ("peer", 2.0), ("ours", 0.5))
    ]
    result = {"audio_s": 1.0, "threads": 2, "delay_ms": 480, "repeat": 2, "runs": runs}
    rows = cells(TABLES["side_by_side"]([result]))
    assert rows["live: RTF",] == ["0.500", "3.000 (2.000 to 4.000)", "6.00"]
    assert rows["live: peak memory, MB",] == ["10", "10", "1.00"]


def test_tables_refuse_what_is_not_the_same(result: Result, tmp_path: Path) -> None:
    other = {**result, "delay_ms": 80}
    for name, value in (("a", result), ("b", other), ("c", {"runs": {}}), ("d", [])):
        (tmp_path / name).write_text(json.dumps(value))
    for names, message in (
        ("ab", "the files differ in delay_ms: 480 and 80"),
        ("c", "a file is none of voxtral bench or side_by_side"),
        ("d", "a file is none of voxtral bench or side_by_side"),
        ("e", "No such file"),
    ):
        files = [str(tmp_path / name) for name in names]
        command = [sys.executable, str(TABLES_SCRIPT), *files]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stdout) == (2, "")
        assert message in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_streams_at_once(samples: np.ndarray) -> None:
    """As much audio as was asked for, in passes that the streams share."""
    counts, heard_s = (1, 3), 2.0
    result = streams.measure(
        None, samples, counts, chunk_ms=480, heard_s=heard_s, late_ms=60_000, threads=1
    )
    assert [(run["n_streams"], run["kind"]) for run in result["runs"]] == [
        (n, kind) for n in counts for kind in streams.KINDS
    ]
    for run in result["runs"]:
        assert run["audio_s_per_s"] > 0
        assert run["decoder_columns"] >= run["decoder_own"] >= 1
        assert run["encoder_slots"] >= run["encoder_own"] >= 1
        if run["n_streams"] == 1:
            assert run["decoder_own"] <= run["decoder_columns"] <= 16
        is_paced = run["kind"] == "paced"
        assert (run["lag_p50_ms"] is not None) == is_paced
        assert run["late_share"] == 0
        if is_paced:
            assert run["audio_s_per_s"] <= run["n_streams"]
            assert run["lag_p50_ms"] <= run["lag_p95_ms"] <= run["lag_max_ms"]
    flat = {run["n_streams"]: run for run in result["runs"] if run["kind"] == "flat"}
    assert flat[3]["decoder_columns"] > flat[3]["decoder_own"]


def test_streams_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "streams.json"
    assert cli.main(["bench", "--seconds", "2", "--streams", "1,2", "--json", str(file)]) == 0
    out = capsys.readouterr().out
    assert "2 paced" in out
    assert "columns/pass" in out
    assert len(json.loads(file.read_text())["runs"]) == 4
