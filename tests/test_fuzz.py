"""The inputs that fuzzing kept, run once more: each must be refused cleanly or work."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from fuzz import fuzz_checkpoint, fuzz_wav
from voxtral_edge import ComputeError, Model, ModelFormatError

FUZZ = Path(__file__).with_name("fuzz")


@pytest.mark.parametrize("path", sorted((FUZZ / "wav").iterdir()), ids=lambda path: path.name)
def test_wav_pipe(path: Path) -> None:
    fuzz_wav.check(path.read_bytes())


@pytest.mark.parametrize("path", sorted((FUZZ / "model").iterdir()), ids=lambda path: path.name)
def test_model(path: Path) -> None:
    try:
        with Model(path) as model, model.stream() as stream:
            stream.finish()
    except (ModelFormatError, ComputeError) as error:  # a model that loads may hold a NaN
        assert "\n" not in str(error)


@pytest.mark.parametrize("path", sorted((FUZZ / "checkpoint").iterdir()), ids=lambda p: p.name)
def test_checkpoint(path: Path) -> None:
    fuzz_checkpoint.check(path.read_bytes())


def test_checkpoints_by_chance() -> None:
    choice = random.Random(1)
    for _ in range(300):
        fuzz_checkpoint.check(choice.randbytes(choice.randrange(1, 12)))


def test_frames(demo: Model, caplog: pytest.LogCaptureFixture) -> None:
    """A moment of what fuzz_frames.py does for longer; nothing may come as a surprise."""
    pytest.importorskip("fastapi", reason="the extra serve is not installed")
    from fuzz.fuzz_frames import fuzz
    from serving import ROOMY, run, serving

    with serving(demo, wyoming="tcp://127.0.0.1:0", limits=ROOMY) as server:
        assert run(fuzz(server, 2.0, seed=1)) > 50
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == []
