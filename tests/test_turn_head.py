"""A model with a second head, for the states of a turn: conversion of both layouts, and the core.

What transformers makes of such a model is among the fixtures of test_parity.py.
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tiny_model
import voxtral_edge as vox
from core import core_run
from reference import TURN_HEAD, TURN_ROWS, Reference, read_safetensors
from tiny_model import write_safetensors
from tolerances import clear_clip, compare
from voxtral_edge.convert import ConversionError, GgufFile, convert, convert_decoder, verify

SEED = 5
TYPES = ("f32", "q4_0")


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("turns") / "official"
    return tiny_model.write_official(folder, SEED, has_turns=True)


@pytest.fixture(scope="module")
def transformers(official: Path) -> Path:
    """Its names all begin with those of the wrapped model."""
    folder = official.with_name("transformers")
    return tiny_model.write_transformers(folder, SEED, has_turns=True)


@pytest.fixture(scope="module", params=TYPES)
def path(request: pytest.FixtureRequest, official: Path) -> Path:
    path = official.with_name(f"{request.param}.gguf")
    convert(official, path, type=request.param)
    return path


@pytest.fixture(scope="module")
def model(path: Path) -> Iterator[vox.Model]:
    with vox.Model(path) as model:
        yield model


@pytest.fixture(scope="module")
def audio() -> np.ndarray:
    return tiny_model.make_audio(60_000, seed=6)


# ---- conversion ---------------------------------------------------------------------------------


@pytest.mark.parametrize("type_name", TYPES)
def test_both_layouts_give_the_same_tensors(
    type_name: str, official: Path, transformers: Path, tmp_path: Path
) -> None:
    files = []
    for folder in (official, transformers):
        path = tmp_path / f"{folder.name}.gguf"
        convert(folder, path, type=type_name)
        verify(folder, path)
        with GgufFile(path) as file:
            files.append({name: file.read_rows(name, 0, info.shape[0] if len(info.shape) > 1 else 1)
                          for name, info in file.tensors.items()})  # fmt: skip
            assert file.tensors["dec.turn.weight"][:2] == ("F32", (6, 96))
            assert list(file.tensors)[-1] == "dec.turn.weight"
    assert files[0] == files[1]
    rows = np.frombuffer(files[0]["dec.turn.weight"], "<f4").reshape(6, -1)
    source = read_safetensors(official / "consolidated.safetensors")
    assert np.array_equal(rows, source[TURN_HEAD][TURN_ROWS])


def test_without_the_head_nothing_changes(official: Path, tmp_path: Path) -> None:
    plain = tiny_model.write_official(tmp_path / "plain", SEED)
    convert(plain, tmp_path / "plain.gguf")
    convert(official, tmp_path / "turns.gguf")
    with GgufFile(tmp_path / "plain.gguf") as one, GgufFile(tmp_path / "turns.gguf") as other:
        assert "dec.turn.weight" not in one.tensors
        for name in one.tensors:
            assert one.read_rows(name, 0, 1) == other.read_rows(name, 0, 1)
    with vox.Model(tmp_path / "plain.gguf") as model:
        assert not model.has_turns
        with model.stream() as stream:
            assert stream.finish() == []
        slots = list(model.slots(np.zeros(1280, np.float32)))
    assert {(slot.turn, slot.turn_confidences) for slot in slots} == {(None, ())}


def test_the_published_model_is_another(
    official: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of its sizes with a head has not its name, nor its 13 languages."""
    from voxtral_edge.convert.writing import metadata

    sizes = tiny_model.PRESETS["micro"]
    published = (sizes.enc_n_layers, sizes.enc_dim, sizes.dec_n_layers, sizes.dec_dim, 1400)
    monkeypatch.setattr(metadata, "PUBLISHED_SIZES", published)
    convert(official, tmp_path / "turns.gguf")
    with GgufFile(tmp_path / "turns.gguf") as file:
        assert file.metadata["general.name"].value.startswith("Voxtral realtime")
        assert "general.languages" not in file.metadata


def test_the_decoder_for_llama_has_none(official: Path, tmp_path: Path) -> None:
    convert_decoder(official, tmp_path / "decoder.gguf", type="f32")
    verify(official, tmp_path / "decoder.gguf")
    with GgufFile(tmp_path / "decoder.gguf") as file:
        assert not any("turn" in name for name in file.tensors)


def test_an_output_matrix_beside_the_embedding(transformers: Path, tmp_path: Path) -> None:
    """Some programs save it although it is tied; it must be the same then."""
    tensors = read_safetensors(transformers / "model.safetensors")
    embedding = tensors["base_model.model.language_model.embed_tokens.weight"]
    for name in ("base_model.lm_head.weight", "base_model.language_model.lm_head.weight"):
        folder = tmp_path / name
        folder.mkdir()
        for file in transformers.glob("*.json"):
            (folder / file.name).write_bytes(file.read_bytes())
        write_safetensors(folder / "model.safetensors", {name: embedding, **tensors})
        convert(folder, tmp_path / "tied.gguf")
        verify(folder, tmp_path / "tied.gguf")
        convert(transformers, tmp_path / "plain.gguf")
        with GgufFile(tmp_path / "tied.gguf") as one, GgufFile(tmp_path / "plain.gguf") as other:
            assert one.tensors == other.tensors
        write_safetensors(folder / "model.safetensors", {**tensors, name: -embedding})
        with pytest.raises(ConversionError, match=r"lm_head\.weight is not the embedding"):
            convert(folder, tmp_path / "no.gguf")
        assert not (tmp_path / "no.gguf").exists()


def test_heads_that_cannot_be(official: Path, tmp_path: Path) -> None:
    tensors = read_safetensors(official / "consolidated.safetensors")
    folder = tmp_path / "bad"
    folder.mkdir()
    for file in official.glob("*.json"):
        (folder / file.name).write_bytes(file.read_bytes())

    def refused(head: np.ndarray, match: str) -> None:
        write_safetensors(folder / "consolidated.safetensors", {**tensors, TURN_HEAD: head})
        with pytest.raises(ConversionError, match=match):
            convert(folder, tmp_path / "no.gguf")

    refused(tensors[TURN_HEAD][:6], r"has the shape \[6, 96\]")
    head = tensors[TURN_HEAD].copy()
    head[38, 3] = np.nan
    refused(head, "has a NaN or an infinity in row 38")
    head[38, 3], head[41, 3] = 1, np.nan  # which means nothing
    write_safetensors(folder / "consolidated.safetensors", {**tensors, TURN_HEAD: head})
    convert(folder, tmp_path / "fine.gguf")


# ---- the core -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("preset", "delay_ms"), [("micro", 480), ("kquant", 960)])
def test_core_equals_reference(preset: str, delay_ms: int, tmp_path: Path) -> None:
    folder = tiny_model.write_official(tmp_path / "a", SEED, preset, has_turns=True)
    convert(folder, tmp_path / "a.gguf", type="f32")
    samples, expected = clear_clip(Reference(folder), 80_000, delay_ms)
    actual = core_run(tmp_path / "a.gguf", samples, delay_ms)
    assert actual["tokens"].tolist() == expected["tokens"].tolist()
    compare("core_reference", actual, {"turns": expected["turns"]})
    states = expected["turns"].argmax(axis=1)
    assert len(set(states.tolist())) == 6  # so that an order that is wrong would show
    top = np.sort(expected["turns"], axis=1)
    clear = top[:, -1] - top[:, -2] > 1e-3
    assert np.array_equal(actual["turns"].argmax(axis=1)[clear], states[clear])
    assert np.allclose(actual["turns"].sum(axis=1), 1, atol=1e-6)


def test_every_bit_is_the_same_however_audio_arrives(path: Path, audio: np.ndarray) -> None:
    whole = core_run(path, audio, watch=False)
    for chunk, batch_ms, n_threads in ((160, 80, 1), (1281, 1280, 2), (20_000, 640, 1)):
        cut = core_run(
            path, audio, chunk=chunk, batch_ms=batch_ms, n_threads=n_threads, watch=False
        )
        assert np.array_equal(whole["turns"], cut["turns"])
    watched = core_run(path, audio)  # one slot after the other, without guesses
    assert np.array_equal(whole["turns"], watched["turns"])


def test_slots_have_states(model: vox.Model, audio: np.ndarray) -> None:
    assert model.has_turns
    slots = list(model.slots(audio, alternatives=2))
    plain = [dataclasses.replace(slot, confidence=None, alternatives=()) for slot in slots]
    assert list(model.slots(audio)) == plain
    for slot in slots:
        assert len(slot.turn_confidences) == len(vox.TURN_STATES) == 6
        best = max(slot.turn_confidences)
        assert slot.turn == vox.TURN_STATES[slot.turn_confidences.index(best)]
        assert sum(slot.turn_confidences) == pytest.approx(1, abs=1e-5)


def test_neighbours_change_nothing(model: vox.Model, audio: np.ndarray) -> None:
    async def heard(samples: np.ndarray) -> list[vox.Piece]:
        async with model.astream() as stream:
            slots = []
            for start in range(0, len(samples), 4000):
                await stream.push(samples[start : start + 4000])
                slots += [slot async for slot in stream.slots()]
            await stream.end()
            return slots + [slot async for slot in stream.slots()]

    async def all_heard() -> list[list[vox.Piece]]:
        clips = [audio, audio[::-1].copy(), audio[20_000:], audio]
        return await asyncio.gather(*map(heard, clips))

    together = asyncio.run(all_heard())
    alone = list(model.slots(audio))
    assert together[0] == together[3] == alone
    assert together[1] != alone


def test_states_are_saved_and_copied(model: vox.Model, audio: np.ndarray) -> None:
    """Slots that were computed and not handed out have theirs in the state."""
    whole = list(model.slots(audio))
    slots: list[vox.Piece] = []
    stream = model.stream()
    for start in range(0, len(audio), 9000):
        stream.push(audio[start : start + 9000])
        slots += itertools.islice(stream.slots(), 3)
        last = stream.flush()
        assert all(piece.turn in vox.TURN_STATES for piece in last)
        saved = stream.save()
        stream.close()
        stream = model.load_stream(saved)
        assert stream.save() == saved
    with stream:
        stream.end()
        assert slots + list(stream.slots()) == whole


def test_what_is_not_computed_is_idle(model: vox.Model, audio: np.ndarray) -> None:
    quiet = np.concatenate([audio[:16_000], np.zeros(80_000, np.float32)])
    with model.stream(silence_gate_ms=1520) as stream:
        stream.push(quiet)
        slots = list(stream.slots())
        assert stream.stats().n_skipped > 10
    assert (slots[-1].turn, slots[-1].turn_confidences) == ("idle", (1.0, 0, 0, 0, 0, 0))


def test_a_damaged_head(path: Path, tmp_path: Path, audio: np.ndarray) -> None:
    import gguf

    tensor = next(t for t in gguf.GGUFReader(path).tensors if t.name == "dec.turn.weight")
    start = int(tensor.data_offset)
    data = bytearray(path.read_bytes())
    data[start : start + 4] = np.float32(np.inf).tobytes()
    (tmp_path / "bad.gguf").write_bytes(data)
    with (
        vox.Model(tmp_path / "bad.gguf") as model,
        pytest.raises(vox.ComputeError, match="damaged"),
    ):
        model.transcribe(audio)
