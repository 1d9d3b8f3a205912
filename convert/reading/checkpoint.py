"""A checkpoint folder in either layout, checked, and read in one pass.

Checkpoint(folder) finds the layout, reads the configuration and the tokenizer, and compares the
tensors' names, types and shapes with the table. slices() then yields all weights in the order of
the files, so that the disk is read once and straight ahead; the hashes of the weight files fall out
of the same pass. A slice is a run of rows, small enough that memory stays bounded.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import os
from collections import deque
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from voxtral_edge._voxtral import lib

from ..errors import ConversionError, DamagedFile
from . import params, tekken
from .json_file import load
from .safetensors_file import FLOATS, Floats, SafetensorsFile, TensorInfo, decode
from .tensors import CONV_TAPS, TIED, TURNS, WRAPPED, Layout, Tensor, tensors

SLICE_BYTES = 4 << 20
GROUP_ROWS = int(lib.VOX_GROUP_ROWS)
INDEX = "model.safetensors.index.json"


class Slice(NamedTuple):
    """Rows start to stop of a tensor, as they are in the file."""

    tensor: Tensor
    start: int
    stop: int
    raw: bytes
    info: TensorInfo
    layout: Layout
    path: Path

    @property
    def stored_rows(self) -> tuple[int, int]:
        """Which rows of a GGUF file's tensor these are, maybe none; a vector is one row."""
        if len(self.tensor.shape) == 1:
            return 0, 1
        return self.tensor.stored_row(self.start), self.tensor.stored_row(self.stop)

    def values(self) -> Floats:
        """Return the rows that are kept [rows, n] as F32, in the order of a GGUF file.

        Raises ConversionError if a value is not finite.
        """
        values: Floats = decode(self.raw, self.info).reshape(self.stop - self.start, -1)
        first, end = self.tensor.kept
        begin = max(first - self.start, 0)
        values = values[begin : max(end - self.start, 0)]
        if not np.isfinite(values).all():
            row = self.start + begin + int(np.flatnonzero(~np.isfinite(values).all(axis=1))[0])
            raise self.error(f"has a NaN or an infinity in row {row}: download the file again")
        if self.tensor.head_dim and self.layout == "transformers":
            # There a head's rows are in halves (j, j + head_dim / 2); the rotated pairs are
            # neighbours in the official order.
            halves = values.reshape(-1, 2, self.tensor.head_dim // 2, values.shape[1])
            values = halves.swapaxes(1, 2).reshape(values.shape)
        if self.tensor.is_conv:
            taps = values.reshape(len(values), -1, CONV_TAPS)
            values = taps.swapaxes(1, 2).reshape(values.shape)
        if len(self.tensor.shape) == 1:
            values = values.reshape(1, -1)
        return np.ascontiguousarray(values)

    def error(self, what: str) -> ConversionError:
        """Return the error about this tensor."""
        return ConversionError(f"{self.path}: tensor {self.tensor.sources[self.layout]} {what}")


class Checkpoint:
    """An open checkpoint; sha256 is known after the first full pass of slices().

    paths: the files that it is made of.
    """

    def __init__(
        self, path: str | os.PathLike[str], published: Mapping[str, str] | None = None
    ) -> None:
        """Open a folder and check everything that the headers tell.

        published: the SHA-256 that weight files must have, by name, where it is known.
        """
        self.folder = folder = Path(path)
        self.published = published or {}
        self.sha256: str | None = None
        self.files: list[SafetensorsFile] = []
        try:
            self.layout, weights = _find(folder)
            is_official = self.layout == "official"
            config = folder / ("params.json" if is_official else "config.json")
            tokenizer = folder / "tekken.json"
            self.paths = [config, tokenizer, folder / INDEX, *weights]
            read = params.official if is_official else params.transformers
            self.params = read(load(config))
            for path in weights:
                self.files.append(SafetensorsFile(path))
            self.has_turns = any(TURNS in file.tensors for file in self.files)
            self.tensors = tensors(self.params, has_turns=self.has_turns)
            self._check()
            self.vocabulary = tekken.read(tokenizer, self.params.n_vocab)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Checkpoint:
        """Return the checkpoint."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close the files."""
        self.close()

    def close(self) -> None:
        """Close the files; repeating it is fine."""
        for file in self.files:
            file.close()

    @property
    def n_params(self) -> int:
        """Weights in all tensors."""
        return sum(math.prod(tensor.stored_shape) for tensor in self.tensors)

    @property
    def n_bytes(self) -> int:
        """Size of the weight files."""
        return sum(file.size for file in self.files)

    def slices(self) -> Iterator[Slice]:
        """Yield every weight once, file by file, in the order of the file.

        Raises DamagedFile after the last slice of a file that is not what was published, and
        ConversionError if an output matrix is not the embedding.
        """
        wanted = self._wanted()
        twins = {wanted[TIED].sources[self.layout]: b"", TIED: b""} if TIED in wanted else {}
        several = len(self.files) > 1
        with _Digest() as digest:
            for file in self.files:
                published = self.published.get(file.path.name)
                digest.begin_file(is_wanted=several and published is not None)
                digest.update(file.header_bytes)
                for name, info in file.tensors.items():
                    table_name = self._name(name)
                    for slice_ in self._tensor_slices(wanted[table_name], file, info):
                        digest.update(slice_.raw)
                        if table_name in twins:
                            chain = twins[table_name] + slice_.raw
                            twins[table_name] = hashlib.sha256(chain).digest()
                        yield slice_
                if published is None:
                    continue
                if published != (digest.file_result() if several else digest.result()):
                    raise DamagedFile(file.path)
            if len(set(twins.values())) > 1:
                raise ConversionError(
                    f"{self.folder}: tensor {TIED} is not the embedding: this is another model"
                )
            self.sha256 = digest.result()

    def values(self, names: Collection[str]) -> dict[str, Floats]:
        """Return all values of some tensors, by the table's names and in the order of its rows."""
        wanted = {tensor.sources[self.layout]: tensor for tensor in self.tensors}
        return {
            tensor.name: np.concatenate(
                [part.values() for part in self._tensor_slices(tensor, file, info)]
            )
            for file in self.files
            for name, info in file.tensors.items()
            if (tensor := wanted.get(self._name(name))) and tensor.name in names
        }

    def _tensor_slices(
        self, tensor: Tensor, file: SafetensorsFile, info: TensorInfo
    ) -> Iterator[Slice]:
        n_rows = info.shape[0]
        # A slice holds whole heads, whose rows change places, and whole groups of a file; a vector
        # is one slice.
        unit = n_rows if len(info.shape) == 1 else math.lcm(max(tensor.head_dim, 1), GROUP_ROWS)
        step = max(SLICE_BYTES // (info.n_bytes // n_rows * unit), 1) * unit
        for start in range(0, n_rows, step):
            stop = min(start + step, n_rows)
            raw = file.read_rows(info, start, stop)
            yield Slice(tensor, start, stop, raw, info, self.layout, file.path)

    def _name(self, name: str) -> str:
        """The table's word for a name in the weight files.

        transformers publishes language_model.model.x but may save its own model.language_model.x.
        """
        if self.layout == "official":
            return name
        name = name.removeprefix(WRAPPED) if self.has_turns else name
        if name.startswith("model."):
            name = name.removeprefix("model.")
            return name.replace("language_model.", "language_model.model.", 1)
        return TIED if name == f"language_model.{TIED}" else name

    def _wanted(self) -> dict[str, Tensor]:
        """What may be in the files, by the table's words.

        An output matrix that was saved although it is the embedding goes nowhere.
        """
        wanted = {tensor.sources[self.layout]: tensor for tensor in self.tensors}
        names = {self._name(name) for file in self.files for name in file.tensors}
        if self.layout == "transformers" and TIED in names:
            (embedding,) = (t for t in self.tensors if t.name == "dec.embed.weight")
            wanted[TIED] = dataclasses.replace(embedding, kept=(0, 0))
        return wanted

    def _check(self) -> None:
        wanted = self._wanted()
        seen: dict[str, Path] = {}
        for file in self.files:
            for name, info in file.tensors.items():
                table_name = self._name(name)
                where = f"{file.path}: tensor {name}"
                if table_name not in wanted:
                    raise ConversionError(
                        f"{where} is unknown: the configuration is that of another model, or the "
                        "file holds more than one"
                    )
                if table_name in seen:
                    raise ConversionError(
                        f"{where} is also in {seen[table_name].name}: remove the file that is not "
                        "part of the checkpoint"
                    )
                seen[table_name] = file.path
                shape = wanted[table_name].shape
                if info.shape != shape:
                    raise ConversionError(
                        f"{where} has the shape {list(info.shape)}, not {list(shape)}: the "
                        "configuration and the weights are of different models"
                    )
                if wanted[table_name].kept[1] > shape[0]:
                    raise ConversionError(
                        f"{where} has {shape[0]} rows, too few for the states of a turn: this is "
                        "another model"
                    )
                if info.type not in FLOATS:
                    raise ConversionError(
                        f"{where} is stored as {info.type}: use the checkpoint in BF16, F16 or F32"
                    )
        for name in wanted:
            if name not in seen:
                files = ", ".join(file.path.name for file in self.files)
                raise ConversionError(
                    f"{self.folder}: tensor {name} is missing in {files}: download all weight "
                    "files again"
                )


class _Digest:
    """SHA-256 of what passes by, computed beside the rest in a thread."""

    def __init__(self) -> None:
        self.hash, self.file_hash = hashlib.sha256(), hashlib.sha256()
        self.is_file_wanted = False
        self.pending: deque[Future[None]] = deque()

    def __enter__(self) -> _Digest:
        self.thread = ThreadPoolExecutor(1, "sha256")
        return self

    def __exit__(self, *error: object) -> None:
        self.thread.shutdown(cancel_futures=True)

    def begin_file(self, *, is_wanted: bool) -> None:
        """Hash what follows by itself as well, if that is wanted."""
        self.file_hash, self.is_file_wanted = hashlib.sha256(), is_wanted

    def update(self, data: bytes) -> None:
        """Add bytes; at most a few slices wait."""
        if len(self.pending) == 4:
            self.pending.popleft().result()
        self.pending.append(self.thread.submit(self._add, data))

    def result(self) -> str:
        """Return the hash of all bytes, in hexadecimal."""
        self._drain()
        return self.hash.hexdigest()

    def file_result(self) -> str:
        """Return the hash of all bytes since begin_file()."""
        self._drain()
        return self.file_hash.hexdigest()

    def _add(self, data: bytes) -> None:
        self.hash.update(data)
        if self.is_file_wanted:
            self.file_hash.update(data)

    def _drain(self) -> None:
        while self.pending:
            self.pending.popleft().result()


def _find(folder: Path) -> tuple[Layout, list[Path]]:
    """The layout of a folder and its weight files in order; the official one wins."""
    if not folder.is_dir():
        raise ConversionError(f"{folder} is not a folder: name the folder of the checkpoint")
    official = folder / "consolidated.safetensors"
    if official.exists():
        return "official", [official]
    if (folder / INDEX).exists():
        weight_map = load(folder / INDEX).section("weight_map").values
        names = sorted({name if isinstance(name, str) else "" for name in weight_map.values()})
        for name in names:
            # Which is false for what cannot be a name, too.
            if Path(name).name != name or not os.path.isfile(folder / name):  # noqa: PTH113
                raise ConversionError(
                    f"{folder / name[:255]} is missing, but {INDEX} names it: download it"
                )
        paths = [folder / name for name in names]
    else:
        paths = sorted(folder.glob("model*.safetensors"))
    if not paths:
        raise ConversionError(
            f"{folder}: no weights here: a checkpoint is params.json, consolidated.safetensors "
            "and tekken.json, or config.json, model*.safetensors and tekken.json"
        )
    return "transformers", paths
