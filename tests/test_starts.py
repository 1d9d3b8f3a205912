"""The start of streams that is kept in the cache directory: used if it is right, never needed."""

from __future__ import annotations

import os
import shutil
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import voxtral_edge as vox
from voxtral_edge.streaming import starts


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The folder of starts, for which no model is too small."""
    monkeypatch.setattr(starts, "WORTH_BYTES", 0)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "voxtral-edge" / "starts"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with resources.as_file(resources.files("voxtral_edge") / "demo.gguf") as demo:
        return Path(shutil.copy(demo, tmp_path / "demo.gguf"))


def run(path: Path, audio: np.ndarray, **options: int) -> list[vox.Piece]:
    """What a new program hears."""
    with vox.Model(path) as model:
        return list(model.slots(audio, **options))


def test_second_program_computes_no_start(
    kept: Path, path: Path, demo: vox.Model, digits: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing, look = [], starts.Starts.is_missing

    def noted(self: starts.Starts, *args: object) -> bool:
        missing.append(look(self, *args))
        return missing[-1]

    monkeypatch.setattr(starts.Starts, "is_missing", noted)
    assert run(path, digits) == list(demo.slots(digits))
    (file,) = kept.iterdir()
    inode = file.stat().st_ino
    assert run(path, digits) == list(demo.slots(digits))
    assert file.stat().st_ino == inode  # it was not written again
    assert run(path, digits, delay_ms=240) == list(demo.slots(digits, delay_ms=240))
    assert missing == [True, False, True]
    assert len([*kept.iterdir()]) == 2
    with vox.Model(path) as model:  # the start of one delay is given, that of another computed
        for delay_ms in (480, 720):
            assert list(model.slots(digits, delay_ms=delay_ms)) == list(
                demo.slots(digits, delay_ms=delay_ms)
            )


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "another model"])
def test_what_is_damaged_is_made_anew(
    damage: str, kept: Path, path: Path, demo: vox.Model, digits: np.ndarray, tiny_path: Path
) -> None:
    run(path, digits)
    (file,) = kept.iterdir()
    whole = file.read_bytes()
    if damage == "another model":
        run(tiny_path, digits)
        (other,) = {*kept.iterdir()} - {file}
        other.replace(file)
    else:
        flipped = bytes([*whole[:90], whole[90] ^ 1, *whole[91:]])
        file.write_bytes({"cut": whole[:-9], "flipped": flipped, "empty": b""}[damage])
    assert file.read_bytes() != whole
    assert run(path, digits) == list(demo.slots(digits))
    assert file.read_bytes() == whole


def test_another_file_in_the_place_of_a_model(kept: Path, path: Path, digits: np.ndarray) -> None:
    run(path, digits)
    os.utime(path, ns=(1, 1))
    run(path, digits)
    assert len([*kept.iterdir()]) == 2


def test_nothing_can_be_kept(
    kept: Path,
    path: Path,
    demo: vox.Model,
    digits: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """No folder can be made, there is no home, or nobody wants it."""
    expected = list(demo.slots(digits))
    (tmp_path / "cache").write_bytes(b"")
    assert run(path, digits) == expected
    (tmp_path / "cache").unlink()
    with vox.Model(path, cache=False) as model:
        assert list(model.slots(digits)) == expected
    monkeypatch.setattr(starts, "WORTH_BYTES", path.stat().st_size + 1)
    assert run(path, digits) == expected
    monkeypatch.setattr(starts, "WORTH_BYTES", 0)
    monkeypatch.setattr("platformdirs.user_cache_path", lambda *_, **__: Path("~") / ".cache")
    assert run(path, digits) == expected
    assert not kept.exists() and not Path("~").exists()


def test_what_was_used_last_stays(
    kept: Path, path: Path, digits: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(starts, "MAX_FILES", 2)
    names = []
    for delay_ms in (80, 160, 240):
        run(path, digits, delay_ms=delay_ms)
        names.append(({*kept.iterdir()} - {*names}).pop())
        if delay_ms == 160:
            os.utime(names[1], ns=(2, 2))
            run(path, digits, delay_ms=80)
    assert {*kept.iterdir()} == {names[0], names[2]}
    monkeypatch.setattr(starts, "MAX_BYTES", names[0].stat().st_size)
    run(path, digits, delay_ms=320)
    assert len([*kept.iterdir()]) == 1


def test_a_stream_that_heard_nothing_keeps_nothing(kept: Path, path: Path) -> None:
    with vox.Model(path) as model:
        model.stream().close()
        with model.stream() as stream:
            stream.push(np.zeros(100, np.float32))
    assert not kept.exists()
