"""Planting keeps the function: a widened demo model hears what the demo model hears.

All widths, numbers of layers and heads, and the vocabulary grow, the groups of heads that share a
key among them. Logits may differ only by rounding in F32.
"""

from __future__ import annotations

import copy
import json
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import speech
from core import core_run
from voxtral_edge.convert import Checkpoint, ConversionError, GgufFile, convert

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "scripts" / "plant.py"
PLANT = runpy.run_path(str(SCRIPT))
N_VOCAB = 4096
# The largest difference of logits, which span about 40: what scaling the norms rounds away in F32.
LOGIT_TOLERANCE = 1e-4
SHAPE: dict[str, Any] = {
    "vocab_size": 5000,
    "dim": 512,
    "n_layers": 6,
    "n_heads": 10,
    "n_kv_heads": 2,
    "hidden_dim": 1024,
    "multimodal": {
        "whisper_model_args": {
            "encoder_args": {
                "dim": 768,
                "n_layers": 9,
                "n_heads": 6,
                "n_kv_heads": 6,
                "hidden_dim": 1088,
            }
        }
    },
}


def changed(**sizes: int) -> dict[str, Any]:
    return {**copy.deepcopy(SHAPE), **sizes}


def test_the_function_is_the_same(tmp_path: Path) -> None:
    PLANT["plant"](ROOT / "demo", tmp_path / "planted", SHAPE)
    convert(ROOT / "demo", tmp_path / "small.gguf", type="f32")
    convert(tmp_path / "planted", tmp_path / "large.gguf", type="f32")
    clip, tokens = speech.held_out()[0]
    small = core_run(tmp_path / "small.gguf", clip.samples)
    large = core_run(tmp_path / "large.gguf", clip.samples)
    assert large["tokens"].tolist() == tokens
    assert large["text"] == small["text"] != ""
    logits = large["dec.logits"]
    assert logits.shape[1] == SHAPE["vocab_size"]
    assert np.abs(logits[:, :N_VOCAB] - small["dec.logits"]).max() <= LOGIT_TOLERANCE
    assert (logits[:, N_VOCAB:] == logits[:, :1]).all()  # so none of them is ever chosen


def test_quantised_weights_are_the_same(tmp_path: Path) -> None:
    """No block of a packed type holds both the small model's values and added zeros."""
    PLANT["plant"](ROOT / "demo", tmp_path / "planted", SHAPE)
    for name, folder in (("small", ROOT / "demo"), ("large", tmp_path / "planted")):
        convert(folder, tmp_path / f"{name}.gguf", type="q4_0")
    with GgufFile(tmp_path / "small.gguf") as small, GgufFile(tmp_path / "large.gguf") as large:
        packed = [name for name, info in small.tensors.items() if info.type == "Q4_0"]
        assert len(packed) > 50
        for name in packed:
            values = [np.concatenate(list(file.pieces(name))) for file in (small, large)]
            if name == "dec.embed.weight":  # without the rows that repeat its first
                values[1] = values[1][: N_VOCAB * SHAPE["dim"]]
            a, b = (np.sort(each[each != 0]) for each in values)
            np.testing.assert_array_equal(a, b, name)


def test_windows(tmp_path: Path) -> None:
    for window, expected in ((False, (192, 256)), (True, (8192, 750))):
        folder = tmp_path / str(window)
        PLANT["plant"](ROOT / "demo", folder, SHAPE, real_windows=window)
        with Checkpoint(folder) as planted:
            assert (planted.params.decoder.window, planted.params.encoder.window) == expected


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (changed(dim=700), "no multiple of 256"),
        (changed(dim=128), "decoder dim is 128, but the small model has 256"),
        (changed(vocab_size=2000), "vocab_size is 2000, but the small model has 4096"),
        (changed(n_heads=6), "n_heads / n_kv_heads is 3, but the small model has 4"),
        (changed(n_heads=7), "no multiple of n_kv_heads"),
        ({"vocab_size": 5000}, "dim is missing"),
    ],
)
def test_shapes_that_do_not_fit(shape: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match=message):
        PLANT["plant"](ROOT / "demo", tmp_path / "planted", shape)
    assert not list(tmp_path.iterdir())


def test_the_command_says_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "shape.json").write_text(json.dumps(changed(dim=700)))
    for args, status, message in (
        ([tmp_path], 2, "exists: name a new folder"),
        ([tmp_path / "a", "--from", tmp_path / "b"], 2, "is not a folder"),
        ([tmp_path / "a", "--shape", tmp_path / "shape.json"], 2, "no multiple of 256"),
        ([tmp_path / "a", "--shape", "5b"], 2, "--shape 5b is neither 4b nor a JSON file"),
        ([tmp_path / "a" / "b"], 1, f"cannot write {tmp_path / 'a' / 'b'} (No such file"),
    ):
        command = [sys.executable, str(SCRIPT), *map(str, args)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stdout) == (status, "")
        assert done.stderr.startswith("plant: ")
        assert message in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_a_disk_that_is_full(tmp_path: Path) -> None:
    """The limit on a file's size stands for it: the first error of the system ends it."""
    (tmp_path / "shape.json").write_text(json.dumps(SHAPE))
    code = """if True:
        import resource, runpy, signal, sys
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10**6, 10**6))
        sys.argv = sys.argv[1:]
        runpy.run_path(sys.argv[0], run_name="__main__")"""
    planted, made = tmp_path / "planted", tmp_path / "peer.gguf"
    for args, message in (
        ([SCRIPT, planted, "--shape", tmp_path / "shape.json"], f"plant: cannot write {planted}"),
        (
            [ROOT / "scripts" / "peer_gguf.py", ROOT / "demo", made],
            f"peer_gguf: cannot write to {made}",
        ),
    ):
        command = [sys.executable, "-c", code, *map(str, args)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith(message)
        assert "File too large" in done.stderr
        assert [path.name for path in tmp_path.iterdir()] == ["shape.json"]
