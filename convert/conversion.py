"""convert(), convert_decoder(): a checkpoint folder becomes a GGUF file, or nothing changes.

All sizes are known from the headers, so that the file is laid out first and every slice of the
source, packed by a pool of threads, is written straight to its place.
"""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from voxtral_edge.console.output import Output, OutputError, identities, is_gguf
from voxtral_edge.machine import host
from voxtral_edge.system import here

from .errors import ConversionError
from .reading.checkpoint import Checkpoint, Slice
from .reading.regular_file import read_at
from .writing.gguf_file import Place, write_header
from .writing.llama import decoder
from .writing.metadata import SHA256_KEY, Card
from .writing.quantize import DEFAULT, Type, file_type
from .writing.recipe import Recipe, whole

Progress = Callable[[str, int], None]
"""Called as slices are done, with the tensor's name and the bytes of the source in this slice."""

UNKNOWN_SHA256 = "0" * 64


@dataclass(frozen=True)
class Summary:
    """What was written; types: packed bytes by the type's name."""

    path: Path
    n_tensors: int
    n_params: int
    n_bytes: int
    types: dict[str, int]


def convert(
    checkpoint: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    type: str = DEFAULT,
    name: str | None = None,
    description: str | None = None,
    license: str | None = None,
    published: Mapping[str, str] | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Summary:
    """Convert a checkpoint folder to a GGUF file.

    type is one of FILE_TYPES. name, description and license go into the metadata; None: what is
    known of the published model. published: the SHA-256 that weight files must have, by name.
    threads pack (None: one per processor this process may use).
    The same checkpoint and arguments give the same bytes. Raises ConversionError if something is
    wrong with the checkpoint, ArgumentError if the target is a folder, a file of the checkpoint, or
    a file that is no model, and OSError if it cannot be written; then, as after an interruption,
    the target is as it was. A pipe or a device gets the file when it is whole.
    """
    card = Card(name, description, license)
    with Checkpoint(checkpoint, published) as source:
        recipe = whole(source, type, card)
        return _write(source, recipe, Path(target), type, threads, progress)


def convert_decoder(
    checkpoint: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    delay_ms: int | None = None,
    type: str = DEFAULT,
    name: str | None = None,
    description: str | None = None,
    license: str | None = None,
    published: Mapping[str, str] | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Summary:
    """Convert the decoder of a checkpoint to a GGUF file for llama.cpp; see voxtral_edge.llama.

    delay_ms is the delay that the file is for (None: the model's default). All else as convert().
    """
    card = Card(name, description, license)
    with Checkpoint(checkpoint, published) as source:
        delay_ms = source.vocabulary.default_delay_ms if delay_ms is None else delay_ms
        recipe = decoder(source, type, card, delay_ms)
        return _write(source, recipe, Path(target), type, threads, progress)


def _write(
    source: Checkpoint,
    recipe: Recipe,
    path: Path,
    type: str,
    threads: int | None,
    progress: Progress | None,
) -> Summary:
    layout = recipe.layout(source, file_type(type))
    with _target(path, source) as output:
        try:
            places, size = _fill(output, source, recipe, layout, threads, progress)
        except OSError as error:
            raise OutputError(str(path), error) from error
    types: dict[str, int] = {}
    for place in places.values():
        types[place.type.name] = types.get(place.type.name, 0) + place.n_bytes
    n_params = sum(math.prod(place.shape) for place in places.values())
    return Summary(path, len(places), n_params, size, types)


def _fill(
    output: Output,
    source: Checkpoint,
    recipe: Recipe,
    layout: Mapping[str, tuple[Type, tuple[int, ...]]],
    threads: int | None,
    progress: Progress | None,
) -> tuple[dict[str, Place], int]:
    """Write all of the file; return where each tensor is, and its size."""
    assert output.part is not None
    fd = output.fd
    keys = recipe.metadata(UNKNOWN_SHA256)
    places, size = write_header(output.part, recipe.architecture, keys, layout)
    here.reserve(fd, size)  # a full disk is noticed now rather than at the end

    def write(part: Slice) -> None:
        first, end = part.stored_rows
        if part.tensor.name not in recipe.names or first == end:
            return  # read for the hash only
        place = places[recipe.names[part.tensor.name]]
        try:
            stored = place.store(recipe.values(part))
        except OverflowError as error:
            raise part.error(f"has {error}: choose --type bf16 or f32") from error
        write_all(fd, stored.data, place.rows(first, end)[0])

    for_each_slice(source, write, threads, progress)
    assert source.sha256 is not None
    _write_sha256(output, source.sha256, places)
    return places, size


def for_each_slice(
    source: Checkpoint,
    work: Callable[[Slice], None],
    threads: int | None,
    progress: Progress | None,
) -> None:
    """Call work() for each slice of a checkpoint in a pool of threads, few slices ahead."""
    n_threads = threads or host.n_processors()
    pending: deque[tuple[str, int, Future[None]]] = deque()

    def finish_one() -> None:
        name, n_bytes, future = pending.popleft()
        future.result()
        if progress:
            progress(name, n_bytes)

    with ThreadPoolExecutor(n_threads, "pack") as pool:
        try:
            for part in source.slices():
                if len(pending) > n_threads:
                    finish_one()
                pending.append((part.tensor.name, len(part.raw), pool.submit(work, part)))
            while pending:
                finish_one()
        finally:
            pool.shutdown(cancel_futures=True)


def _target(path: Path, source: Checkpoint) -> Output:
    same_folder = path.resolve().parent == source.folder.resolve()
    if same_folder and path.suffix in (".json", ".safetensors"):
        raise ConversionError(f"{path} belongs to the checkpoint: name another file to write")
    return Output(path, inputs=identities(source.paths), over=is_gguf, anywhere=True)


def write_all(fd: int, data: memoryview | bytes, offset: int) -> None:
    """Write data at an offset, in as many pieces as the system takes."""
    view = memoryview(data)
    while len(view):
        n = here.write_at(fd, view, offset)
        view, offset = view[n:], offset + n


def _write_sha256(output: Output, sha256: str, places: dict[str, Place]) -> None:
    """Fill in the hash, which is known only after the last slice; it has a fixed length."""
    header = read_at(output.fd, output.path, 0, min(place.offset for place in places.values()))
    offset = header.index(UNKNOWN_SHA256.encode(), header.index(SHA256_KEY.encode()))
    write_all(output.fd, sha256.encode(), offset)
