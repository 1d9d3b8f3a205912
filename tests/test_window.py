"""A bounded window of the decoder: it is that of a file which says so, and takes less memory."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import voxtral_edge as vox
from conftest import SAMPLES
from voxtral_edge import cli
from voxtral_edge.convert.writing.gguf_file import GgufFile
from voxtral_edge.streaming import starts

WINDOW_S, SLOTS = 1.6, 20


@pytest.fixture(scope="module")
def shorter(tiny_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with a file that says so."""
    path = Path(shutil.copy(tiny_path, tmp_path_factory.mktemp("shorter") / "tiny.gguf"))
    with GgufFile(path) as file:
        window = int(file.metadata["voxtral_edge.decoder.window"].value)
    key, data = b"voxtral_edge.decoder.window", bytearray(path.read_bytes())
    at = data.index(key) + len(key) + 4  # the type of the value
    assert int.from_bytes(data[at : at + 4], "little") == window > SLOTS
    data[at : at + 4] = SLOTS.to_bytes(4, "little")
    path.write_bytes(data)
    return path


def test_it_is_a_model_of_that_window(tiny_path: Path, shorter: Path, noise: np.ndarray) -> None:
    with vox.Model(tiny_path, window_s=WINDOW_S) as model, vox.Model(shorter) as same:
        assert model.decoder_window == same.decoder_window == SLOTS
        assert model.encoder_window == same.encoder_window
        expected = [*same.slots(noise, confidence=True)]
        assert [*model.slots(noise, confidence=True)] == expected
        with model.stream(confidence=True) as stream:
            stream.push(noise[:30_000])
            before, saved = [*stream.slots()], stream.save()
        with same.load_stream(saved) as stream:  # all that a result depends on is the same
            stream.push(noise[30_000:])
            stream.end()
            assert [*before, *stream.slots()] == expected


def test_a_state_is_of_one_window(tiny_path: Path, noise: np.ndarray) -> None:
    with (
        vox.Model(tiny_path) as model,
        vox.Model(tiny_path, window_s=WINDOW_S) as other,
        model.stream() as stream,
    ):
        assert [*model.slots(noise, confidence=True)] != [*other.slots(noise, confidence=True)]
        stream.push(noise)
        saved = stream.save()
        model.load_stream(saved).close()
        with pytest.raises(vox.StreamFormatError, match="another window"):
            other.load_stream(saved)


def test_it_bounds_memory(demo: vox.Model, noise: np.ndarray) -> None:
    def memory(model: vox.Model) -> int:
        with model.stream() as stream:
            stream.push(np.resize(noise, 30 * vox.RATE))
            for _ in stream.slots():
                pass
            return stream.memory

    slot = 2560  # bytes of keys and values in the demo model's decoder
    with vox.Model(window_s=WINDOW_S) as model:  # one page of 64 slots in place of four
        assert memory(demo) - memory(model) == 3 * 64 * slot


def test_what_is_asked_for(tiny: vox.Model, tiny_path: Path) -> None:
    for window_s, slots in ((0.08, 1), (0.4, 5), (1e300, tiny.decoder_window)):
        with vox.Model(tiny_path, window_s=window_s) as model:
            assert model.decoder_window == slots
    for wrong in (0, -1, 0.07, float("nan"), float("inf")):
        with pytest.raises(vox.ArgumentError, match=r"is not possible: 0\.08 s or more"):
            vox.Model(tiny_path, window_s=wrong)


def test_starts_are_kept_for_each(
    tiny_path: Path, noise: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(starts, "WORTH_BYTES", 0)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def hear(window_s: float | None, cache: bool = True) -> list[vox.Piece]:
        with vox.Model(tiny_path, window_s=window_s, cache=cache) as model:
            return [*model.slots(noise, confidence=True)]

    for _ in range(2):
        for window_s in (None, WINDOW_S):
            assert hear(window_s) == hear(window_s, cache=False)
    assert len([*(tmp_path / "voxtral-edge" / "starts").iterdir()]) == 2


def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    path = SAMPLES / "digits_1.wav"
    with vox.Model(window_s=0.8) as model:
        expected = model.transcribe(path).text
    assert cli.main(["transcribe", "--quiet", "--window", "0.8", str(path)]) == 0
    assert capsys.readouterr().out == expected + "\n"
    with pytest.raises(SystemExit):
        cli.main(["transcribe", "--window", "0", str(path)])
