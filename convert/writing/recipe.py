"""What a GGUF file is made of: which tensors of a checkpoint, under which names, and which keys.

whole() is the model as csrc/model.c reads it; llama.py has the decoder for llama.cpp. convert()
writes a file by its recipe and verify() compares one with it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..reading.checkpoint import Checkpoint, Slice
from ..reading.safetensors_file import Floats
from .gguf_file import Value
from .metadata import ARCHITECTURE, Card, metadata
from .quantize import FileType, Type, stored_type


@dataclass(frozen=True)
class Recipe:
    """The parts of a file; metadata takes the hash of the weights, which is known last.

    names: in the file, by the table's; other tensors are left out. factors: what vectors are
    multiplied by, [n], by the table's names.
    """

    architecture: str
    metadata: Callable[[str], dict[str, Value]]
    names: dict[str, str]
    factors: dict[str, npt.NDArray[np.float64]]

    def layout(self, source: Checkpoint, kind: FileType) -> dict[str, tuple[Type, tuple[int, ...]]]:
        """Return type and shape of each tensor of the file, by its name there, in its order."""
        return {
            self.names[t.name]: (stored_type(t, kind), t.stored_shape)
            for t in source.tensors
            if t.name in self.names
        }

    def values(self, part: Slice) -> Floats:
        """Return the values of a slice as they belong in the file, before packing."""
        values = part.values()
        if part.tensor.name in self.factors:
            values = (values * self.factors[part.tensor.name]).astype(np.float32)
        return values


def whole(source: Checkpoint, type_name: str, card: Card) -> Recipe:
    """Return the recipe of the model in one file."""
    return Recipe(
        ARCHITECTURE,
        lambda sha256: metadata(source, type_name, card, sha256),
        {tensor.name: tensor.name for tensor in source.tensors},
        {},
    )
