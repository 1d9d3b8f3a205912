"""Any bytes in the place of a checkpoint's files: refused in one line, or what comes of it opens.

The first byte of an input says which file it is about, and whether what follows is all of the file
or a change of a good one: one place in its JSON, and the value that is put there. Run by
scripts/fuzz with atheris; test_fuzz.py runs the kept inputs without it.
"""

from __future__ import annotations

import functools
import json
import math
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import tiny_model
import voxtral_edge as vox
from voxtral_edge.convert import Checkpoint, ConversionError, GgufFile, convert
from voxtral_edge.convert.reading.checkpoint import INDEX

SIZES = {
    "enc_dim": 32, "enc_n_layers": 1, "enc_n_heads": 1, "enc_hidden_dim": 32, "enc_window": 24,
    "dec_dim": 32, "dec_n_layers": 1, "dec_n_heads": 1, "dec_n_kv_heads": 1, "dec_hidden_dim": 32,
    "dec_window": 24, "n_vocab": 1010,
}  # fmt: skip
# Files by number; the numbers are those of kept inputs.
FILES = (
    ("official", "params.json"),
    ("official", "tekken.json"),
    ("transformers", "config.json"),
    ("transformers", INDEX),
    ("official", "consolidated.safetensors"),
    ("", "model.gguf"),
)
ODD: tuple[Any, ...] = (
    *(-1, 0, 1, 2, 33, 2**16 + 1, 2**31, 2**32, 2**40, 10**400, 0.5, 1e300, 1e-320),
    *(math.inf, -math.inf, math.nan, True, False, None, "", "x", "7", "\ud800", [], [1], {}),
)


class Checkpoints:
    """A folder with a good checkpoint of each layout and a model, and what their files hold."""

    def __init__(self) -> None:
        self.at = tempfile.TemporaryDirectory(prefix="checkpoints")
        self.folder = Path(self.at.name)
        tiny_model.write_official(self.folder / "official", **SIZES)
        tiny_model.write_transformers(self.folder / "transformers", n_shards=2, **SIZES)
        convert(self.folder / "official", self.folder / "model.gguf", type="f32")
        self.good = {file: (self.folder / Path(*file)).read_bytes() for file in FILES}
        self.as_it_was = {
            layout: facts(self.folder / layout) for layout in ("official", "transformers")
        }
        self.values: dict[tuple[str, str], Any] = {}
        for file in FILES:
            if file[1].endswith(".json"):
                self.values[file] = json.loads(self.good[file])
        data = self.good[FILES[4]]
        self.n_header = 8 + int.from_bytes(data[:8], "little")
        self.values[FILES[4]] = json.loads(data[8 : self.n_header])


def facts(folder: Path) -> tuple[Any, ...]:
    """What a checkpoint says of its model."""
    with Checkpoint(folder) as source:
        return source.params, source.vocabulary, source.tensors


@functools.cache
def checkpoints() -> Checkpoints:
    return Checkpoints()


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a JSON value, of long lists the first and the last."""
    yield path
    if isinstance(value, dict):
        for key, each in value.items():
            yield from places(each, (*path, key))
    elif isinstance(value, list) and value:
        for i in sorted({0, len(value) - 1}):
            yield from places(value[i], (*path, i))


def changed(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """The same with another value in one place; `...`: with nothing there."""
    if not path:
        return new
    copy = value.copy()
    if new is ... and len(path) == 1:
        del copy[path[0]]
    else:
        copy[path[0]] = changed(value[path[0]], path[1:], new)
    return copy


def made(file: tuple[str, str], is_whole: bool, data: bytes) -> bytes:
    """What an input puts in the place of a file."""
    good = checkpoints()
    if is_whole:
        return data
    if file not in good.values:  # a model: bytes from a place on
        copy, at = bytearray(good.good[file]), int.from_bytes(data[:2], "little") % 4096
        copy[at : at + len(data) - 2] = data[2:]
        return bytes(copy)
    all_places = list(places(good.values[file]))
    path = all_places[int.from_bytes(data[:2], "little") % len(all_places)]
    kind = data[2] if len(data) > 2 else 0
    new: Any = ... if path else {}
    if kind < len(ODD):
        new = ODD[kind]
    elif kind < 128:
        try:
            new = json.loads(data[3:])
        except (ValueError, RecursionError):
            new = data[3:].decode(errors="replace")
    text = json.dumps(changed(good.values[file], path, new)).encode()
    if file[1].endswith(".json"):
        return text
    return len(text).to_bytes(8, "little") + text + good.good[file][good.n_header :]


def check(data: bytes) -> None:
    """Put one input in its place, and look at what there is then."""
    if not data:
        return
    good, file = checkpoints(), FILES[data[0] % 8 % len(FILES)]
    path = good.folder / Path(*file)
    path.write_bytes(made(file, bool(data[0] & 128), data[1:]))
    try:
        if not file[0]:
            with GgufFile(path) as model:
                for name in list(model.tensors)[:3]:
                    for _ in model.pieces(name):
                        pass
        elif facts(path.parent) != good.as_it_was[file[0]]:
            target = good.folder / "made.gguf"
            convert(path.parent, target, type="f32")
            vox.Model(target).close()
    except ConversionError as error:
        assert "\n" not in str(error) and len(str(error)) < 1000
    finally:
        path.write_bytes(good.good[file])


if __name__ == "__main__":
    import atheris

    atheris.instrument_all()
    atheris.Setup(sys.argv, check)
    atheris.Fuzz()
