"""Files whose matrices are groups of rows, as kernels read them, and files of rows beside them."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tiny_model
import voxtral_edge as vox
from voxtral_edge.convert import Checkpoint, ConversionError, GgufFile, convert
from voxtral_edge.convert.writing.gguf_file import ALIGNMENT_KEY, LAYOUT_KEY, u32, write_header
from voxtral_edge.convert.writing.groups import group, grouped_size, ungroup
from voxtral_edge.convert.writing.metadata import ARCHITECTURE, Card
from voxtral_edge.convert.writing.quantize import Type, file_type, packed_size, unpack
from voxtral_edge.convert.writing.recipe import whole

BLOCK_TYPES = ["q8_0", "q6_k", "q5_k_m", "q4_k_m", "q4_0"]
VERSION_KEY = "voxtral_edge.format_version"


def write_rows(folder: Path, path: Path, type: str) -> Path:
    """Convert a checkpoint to a file of version 1, which has no groups."""
    with Checkpoint(folder) as source:
        recipe = whole(source, type, Card())
        keys = recipe.metadata("0" * 64) | {VERSION_KEY: u32(1)}
        del keys[LAYOUT_KEY], keys[ALIGNMENT_KEY]
        layout = recipe.layout(source, file_type(type))
        places, size = write_header(path, ARCHITECTURE, keys, layout)
        os.truncate(path, size)
        with path.open("r+b") as file:
            for part in source.slices():
                place = places[recipe.names[part.tensor.name]]
                file.seek(place.rows(*part.stored_rows)[0])
                file.write(place.store(recipe.values(part)))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint whose matrices end in the middle of a group, which every type can store."""
    sizes = {"n_vocab": 1403, "enc_n_layers": 8, "dec_hidden_dim": 768, "dec_n_layers": 1}
    return tiny_model.write_official(tmp_path_factory.mktemp("c"), preset="kquant", **sizes)


@pytest.fixture(scope="module")
def grouped(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    place = tmp_path_factory.mktemp("grouped")

    def make(type: str) -> Path:
        path = place / f"{type}.gguf"
        if not path.exists():
            convert(folder, path, type=type)
        return path

    return make


# ---- the layout ----------------------------------------------------------------------------------

# Of files that are out there: another layout needs another word under voxtral_edge.matrix_layout.
HASHES = {
    Type.Q4_0: "f22ce2e7a619789d",
    Type.Q8_0: "57f160de853cce09",
    Type.Q4_K: "de7e189fc47258d1",
    Type.Q5_K: "be06a7719d974a01",
    Type.Q6_K: "7fe6d34dc8d1aed6",
}


@pytest.mark.parametrize("kind", HASHES, ids=lambda kind: kind.name)
def test_layout_is_the_one_that_files_have(kind: Type) -> None:
    shape, n = (19, 512), 19 * 512
    blocks = (np.arange(packed_size(kind, n)) ** 2 % 251).astype(np.uint8)
    groups = group(blocks, kind, shape)
    assert len(groups) == grouped_size(kind, shape) >= packed_size(kind, 32 * 512)
    assert hashlib.sha256(groups).hexdigest()[:16] == HASHES[kind]
    values = ungroup(groups.tobytes(), kind, shape).reshape(-1)
    assert np.array_equal(values, unpack(blocks.tobytes(), kind, n), equal_nan=True)


@pytest.mark.parametrize("kind", [Type.F32, Type.F16, Type.BF16])
def test_floats_stay_in_rows(kind: Type) -> None:
    assert grouped_size(kind, (32, 512)) == 0


def test_sizes_that_no_matrix_has() -> None:
    for shape in [(0, 32), (16, 0), (16, 33), (-16, 32), (2**31, 32), (16, 2**40), (2, 2, 32)]:
        assert grouped_size(Type.Q4_0, shape) == 0
    assert grouped_size(Type.Q4_K, (16, 32)) == 0


# ---- files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("type", BLOCK_TYPES)
def test_both_versions_are_one_model(
    type: str, folder: Path, grouped: Callable[[str], Path], tmp_path: Path
) -> None:
    """The same weights, slots and saved states: a stream goes on with the other file."""
    path, rows = grouped(type), write_rows(folder, tmp_path / "rows.gguf", type)
    with GgufFile(path) as a, GgufFile(rows) as b:
        assert (a.metadata[VERSION_KEY].value, b.metadata[VERSION_KEY].value) == (2, 1)
        assert a.tensors.keys() == b.tensors.keys()
        for name, info in a.tensors.items():
            assert (info.type, info.shape) == (b.tensors[name].type, b.tensors[name].shape)
            assert info.offset % 64 == 0
            for x, y in zip(a.pieces(name), b.pieces(name), strict=True):
                assert np.array_equal(x, y), name
        middle = a.values("dec.embed.weight", 13, 37)
        assert np.array_equal(middle, b.values("dec.embed.weight", 13, 37))
        assert middle.size == 24 * 256
    audio = tiny_model.make_audio(3 * vox.RATE, seed=1)
    with vox.Model(path) as one, vox.Model(rows) as other:
        assert one.transcribe(audio) == other.transcribe(audio)
        with one.stream() as stream, other.stream() as twin:
            for s in (stream, twin):
                s.push(audio[:20_000])
            assert list(stream.slots()) == list(twin.slots())
            state = stream.save()
            assert state == twin.save()
            stream.push(audio[20_000:])
            stream.end()
            with other.load_stream(state) as later:
                later.push(audio[20_000:])
                later.end()
                assert list(later.slots()) == list(stream.slots())


def test_an_open_model_needs_no_copy(grouped: Callable[[str], Path]) -> None:
    """Matrices are read where the file is mapped, so that all processes share its pages."""
    path = grouped("q4_0")
    with vox.Model(path) as model:
        model.transcribe(np.zeros(1280, np.float32))
        blocks = Path("/proc/self/smaps").read_text().split("VmFlags")
        mapped = next(block for block in blocks if str(path) in block)
        sizes = dict(re.findall(r"(\w+): +(\d+) kB", mapped))
    assert int(sizes["Rss"]) * 1024 > 0.9 * path.stat().st_size
    assert sizes["Anonymous"] == sizes["Private_Dirty"] == "0"


def forge(path: Path, target: Path, key: str, old: bytes, new: bytes) -> Path:
    """Copy a file with the value of a key replaced by another of the same length."""
    data = path.read_bytes()
    at = data.index(old, data.index(key.encode()))
    target.write_bytes(data[:at] + new + data[at + len(old) :])
    return target


def test_unknown_layouts_are_refused(grouped: Callable[[str], Path], tmp_path: Path) -> None:
    path = forge(grouped("q4_0"), tmp_path / "m.gguf", LAYOUT_KEY, b"groups_of_16", b"groups_of_32")
    with pytest.raises(vox.ModelFormatError, match=r"matrix_layout is 'groups_of_32'.*convert"):
        vox.Model(path)
    with pytest.raises(ConversionError, match="'groups_of_32'"):
        GgufFile(path)
    path = forge(grouped("q4_0"), tmp_path / "m.gguf", LAYOUT_KEY[:-1], b"t", b"T")
    with pytest.raises(vox.ModelFormatError, match="matrix_layout is missing"):
        vox.Model(path)


def test_groups_end_within_the_file(
    folder: Path, grouped: Callable[[str], Path], tmp_path: Path
) -> None:
    """Each tensor in turn is said to lie up to the end, a little beyond, far away, or askew."""
    path = tmp_path / "m.gguf"
    whole_file = grouped("q4_k_m").read_bytes()
    with GgufFile(grouped("q4_k_m")) as file:
        tensors, header = file.tensors, file.header_size
    start = header + -header % 64
    for name, info in tensors.items():
        at = whole_file.index(len(name).to_bytes(8, "little") + name.encode()) + 8 + len(name)
        at += 4 + 8 * len(info.shape) + 4
        assert int.from_bytes(whole_file[at : at + 8], "little") == info.offset - start

        def moved(offset: int, at: int = at) -> None:
            forged = whole_file[:at] + offset.to_bytes(8, "little") + whole_file[at + 8 :]
            path.write_bytes(forged)

        last = (len(whole_file) - start - info.n_bytes) // 64 * 64
        moved(last)
        vox.Model(path).close()
        moved(last + 64)
        with pytest.raises(vox.ModelFormatError, match=f"ends inside tensor {name}"):
            vox.Model(path)
        with pytest.raises(ConversionError, match=f"ends inside tensor {name}"):
            GgufFile(path)
        moved(2**62)
        with pytest.raises(vox.ModelFormatError, match=f"ends inside tensor {name}"):
            vox.Model(path)
        moved(info.offset - start + (32 if info.type[0] == "Q" else 2))
        with pytest.raises(vox.ModelFormatError, match=f"{name} is not aligned|ends inside"):
            vox.Model(path)


def test_rows_are_no_groups(folder: Path, tmp_path: Path) -> None:
    """A file of rows that says it had groups is too short for them, or placed otherwise."""
    path = write_rows(folder, tmp_path / "rows.gguf", "q4_k_m")
    data = path.read_bytes()
    at = data.index(VERSION_KEY.encode()) + len(VERSION_KEY) + 4
    path.write_bytes(data[:at] + b"\2" + data[at + 1 :])
    with pytest.raises(vox.ModelFormatError, match="matrix_layout is missing"):
        vox.Model(path)
