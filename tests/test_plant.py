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
from voxtral_edge.convert import Checkpoint, ConversionError, convert

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "scripts" / "plant.py"
PLANT = runpy.run_path(str(SCRIPT))
N_VOCAB = 4096
# The largest difference of logits, which span about 40: what scaling the norms rounds away in F32.
LOGIT_TOLERANCE = 1e-4
SHAPE: dict[str, Any] = {
    "vocab_size": 5000,
    "dim": 512,
    "n_layers": 5,
    "n_heads": 10,
    "n_kv_heads": 2,
    "hidden_dim": 1024,
    "multimodal": {
        "whisper_model_args": {
            "encoder_args": {
                "dim": 768,
                "n_layers": 6,
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
        ([tmp_path / "a", "--shape", tmp_path / "b.json"], 2, "b.json is missing"),
        ([tmp_path / "a" / "b"], 1, "No such file"),
    ):
        command = [sys.executable, str(SCRIPT), *map(str, args)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stdout) == (status, "")
        assert done.stderr.startswith("plant: ")
        assert message in done.stderr
        assert len(done.stderr.splitlines()) == 1
