"""Measuring beside transcribe-cpp: the file made for it and, where it is installed, the runs."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import reference
from conftest import SAMPLES
from voxtral_edge.convert import ConversionError, GgufFile, SafetensorsFile

ROOT = Path(__file__).parents[1]
SIDE_BY_SIDE = ROOT / "scripts" / "side_by_side.py"
PEER_GGUF = runpy.run_path(str(ROOT / "scripts" / "peer_gguf.py"))
EMBEDDED = ROOT / "bindings" / "voxtral_edge" / "demo.gguf"
CLIP = SAMPLES / "digits_3.wav"


@pytest.fixture(scope="module")
def peer_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("peer") / "demo.gguf"
    PEER_GGUF["write"](ROOT / "demo", path)
    return path


def test_every_weight_is_there(peer_file: Path) -> None:
    """Values in that program's order, undone here another way than they were made."""
    encoder = "mm_streams_embeddings.embedding_module.whisper_encoder."
    with SafetensorsFile(ROOT / "demo" / "consolidated.safetensors") as source:
        original = {
            name: np.concatenate(list(source.pieces(name))).reshape(info.shape)
            for name, info in source.tensors.items()
        }
    with GgufFile(peer_file) as file:
        assert len(file.tensors) == len(original) + 3 - 1  # the tables; no head for turns
        kinds = {name: info.type for name, info in file.tensors.items()}

        def values(name: str) -> np.ndarray:
            return np.concatenate(list(file.pieces(name))).reshape(file.tensors[name].shape)

        conv = original[encoder + "conv_layers.0.conv.weight"]
        np.testing.assert_array_equal(values("enc.conv.0.weight"), conv)
        # Row s * 32 + j of a head of 64 is row 2 j + s of the official order.
        rows = [64 * h + 2 * j + s for h in range(4) for s in range(2) for j in range(32)]
        bias = original[encoder + "transformer.layers.4.attention.wq.bias"]
        np.testing.assert_array_equal(values("enc.blocks.4.attn.q.bias"), bias[rows])
        rows = [2 * j + s for s in range(2) for j in range(64)]
        key = original["layers.3.attention.wk.weight"][rows]
        assert np.abs(values("dec.blocks.3.attn.k.weight") - key).max() < 0.1 * np.abs(key).max()
    assert kinds["dec.token_embd.weight"] == "Q6_K"
    assert kinds["dec.blocks.0.attn.o.weight"] == kinds["enc.blocks.0.attn.out.weight"] == "Q8_0"
    assert kinds["dec.blocks.0.ffn.down.weight"] == kinds["proj.linear_1.weight"] == "Q4_K"
    assert kinds["dec.blocks.0.ada.linear_2.weight"] == "Q8_0"  # its rows have 32 values


def test_mel_filters() -> None:
    expected = reference.mel_filters().T
    filters = PEER_GGUF["mel_filters"]()
    assert filters.shape == expected.shape == (128, 201)
    np.testing.assert_allclose(filters, expected, rtol=1e-5, atol=1e-8)


def test_a_checkpoint_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="no weights here"):
        PEER_GGUF["write"](tmp_path, tmp_path / "peer.gguf")
    assert not list(tmp_path.iterdir())


def test_both_programs(peer_file: Path, tmp_path: Path) -> None:
    pytest.importorskip("transcribe_cpp")
    command = [EMBEDDED, peer_file, "--audio", CLIP, "--repeat", 2, "--json", tmp_path / "a.json"]
    done = subprocess.run(
        [sys.executable, str(SIDE_BY_SIDE), *map(str, command)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "peer / ours" in done.stdout
    runs = json.loads((tmp_path / "a.json").read_text())["runs"]
    assert [run["program"] for run in runs] == ["ours", "peer"] * 2 + ["peer", "ours"] * 2
    assert [run["mode"] for run in runs] == ["offline", "offline", "live", "live"] * 2
    for run in runs:
        assert run["text"] == CLIP.with_suffix(".txt").read_text().strip()
        assert ("call_p50_s" in run) == (run["mode"] == "live")


def test_a_file_that_the_other_program_cannot_read() -> None:
    pytest.importorskip("transcribe_cpp")
    command = [sys.executable, SIDE_BY_SIDE, EMBEDDED, EMBEDDED, "--audio", CLIP]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1].startswith("side_by_side: loading model")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--repeat", "0"], "must be positive"),
        (["--delay", "100"], "--delay 100 is not"),
        (["--seconds", "-1"], "must be positive"),
    ],
)
def test_wrong_options(options: list[str], message: str) -> None:
    pytest.importorskip("transcribe_cpp")
    command = [sys.executable, SIDE_BY_SIDE, EMBEDDED, "peer.gguf", "--audio", CLIP, *options]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
