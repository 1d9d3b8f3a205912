"""verify(): a GGUF file against the checkpoint that it was made from.

Every slice of the source is packed again and must give the very bytes in the file, which finds any
damage; and the unpacked values must lie within the type's error bound of the source, which finds a
wrong packer. The metadata must be what the checkpoint says.
"""

from __future__ import annotations

import math
import os
import threading
from dataclasses import dataclass

import numpy as np
from gguf import GGUFValueType

from .conversion import Progress, for_each_slice
from .errors import ConversionError
from .reading.checkpoint import Checkpoint, Slice
from .reading.safetensors_file import Floats
from .writing.gguf_file import GgufFile, Value
from .writing.llama import ARCHITECTURE as LLAMA
from .writing.llama import DELAY_KEY, decoder
from .writing.metadata import Card
from .writing.quantize import FILE_TYPES, error_limits, file_type
from .writing.recipe import Recipe, whole


@dataclass
class Deviation:
    """How far the values of one type are from their source; limit_share is the worst share."""

    n: int = 0
    max_error: float = 0.0
    limit_share: float = 0.0
    sum_of_squares: float = 0.0

    @property
    def rms_error(self) -> float:
        """Root mean square of the errors."""
        return math.sqrt(self.sum_of_squares / max(self.n, 1))

    def add(self, errors: Floats, limits: Floats) -> None:
        """Count errors [blocks, n] with a limit for each block."""
        self.n += errors.size
        worst = errors.max(axis=1, keepdims=True)
        self.max_error = max(self.max_error, float(worst.max()))
        shares = worst / np.where(limits > 0, limits, 1)
        self.limit_share = max(self.limit_share, float(shares.max()))
        self.sum_of_squares += float(np.vdot(errors, errors))


def verify(
    checkpoint: str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    threads: int | None = None,
    progress: Progress | None = None,
) -> dict[str, Deviation]:
    """Compare a GGUF file with its checkpoint; return the deviation by type name.

    Raises ConversionError at the first difference that packing does not explain. The three texts
    that the user may choose (name, description, license) are taken as they are.
    """
    deviations: dict[str, Deviation] = {}
    lock = threading.Lock()
    with Checkpoint(checkpoint) as source, GgufFile(path) as file:
        recipe = _recipe(source, file)

        def compare(part: Slice) -> None:
            rows = part.stored_rows
            if part.tensor.name not in recipe.names or rows[0] == rows[1]:
                return
            name, values = recipe.names[part.tensor.name], recipe.values(part)
            place = file.place(name)
            kind, stored = place.type, file.read_rows(name, *rows)
            limits = error_limits(values, kind)
            with np.errstate(invalid="ignore"):  # damage may make infinities
                errors = np.abs(file.values(name, *rows) - values.reshape(-1))
            errors = errors.reshape(len(limits), -1)
            if not (errors <= limits).all():
                raise _different(file, f"tensor {name} is further from its source than "
                                 f"{kind.name} explains, near row {part.start}")  # fmt: skip
            if stored != place.store(values).tobytes():
                raise _different(
                    file, f"tensor {name} is not what its source packs to, near row {part.start}"
                )
            with lock:
                deviations.setdefault(kind.name, Deviation()).add(errors, limits)

        for_each_slice(source, compare, threads, progress)
        _check_metadata(source, file, recipe)
    return deviations


def _different(file: GgufFile, what: str) -> ConversionError:
    return ConversionError(f"{file.path}: {what}: convert the checkpoint again")


def _recipe(source: Checkpoint, file: GgufFile) -> Recipe:
    """Compare names, types and shapes; return what the file says that it was made by."""

    def text(key: str) -> str | None:
        return str(file.metadata[key].value) if key in file.metadata else None

    type_name = text("voxtral_edge.file_type")
    if type_name not in FILE_TYPES:
        raise _different(file, "voxtral_edge.file_type is missing or unknown")
    card = Card(text("general.name"), text("general.description"), text("general.license"))
    if text("general.architecture") == LLAMA:
        delay = file.metadata.get(DELAY_KEY)
        recipe = decoder(source, type_name, card, delay.value if delay else 0)
    else:
        recipe = whole(source, type_name, card)
    layout = recipe.layout(source, file_type(type_name))
    wanted = {name: (kind.name, shape) for name, (kind, shape) in layout.items()}
    have = {name: (info.type, info.shape) for name, info in file.tensors.items()}
    for name in wanted | have:
        if wanted.get(name) != have.get(name):
            raise _different(file, f"tensor {name} is {have.get(name)}, not {wanted.get(name)}")
    return recipe


def _check_metadata(source: Checkpoint, file: GgufFile, recipe: Recipe) -> None:
    assert source.sha256 is not None
    wanted = {"general.architecture": Value(GGUFValueType.STRING, recipe.architecture)}
    wanted |= recipe.metadata(source.sha256)
    for key in wanted | file.metadata:
        if not _same(wanted.get(key), file.metadata.get(key)):
            raise _different(file, f"metadata key {key} is not what the checkpoint says")


def _same(wanted: Value | None, found: Value | None) -> bool:
    if wanted is None or found is None or wanted.type != found.type or wanted.item != found.item:
        return False
    if wanted.item == GGUFValueType.UINT8:
        return bool(wanted.value == found.value.tobytes())
    if wanted.type == GGUFValueType.FLOAT32:
        return bool(np.float32(wanted.value) == np.float32(found.value))
    return bool(np.array_equal(wanted.value, found.value))
