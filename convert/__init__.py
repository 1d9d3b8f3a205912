"""Checkpoint to GGUF: convert() writes the file, verify() compares it with its source.
convert_decoder() writes the decoder alone, for llama.cpp.

    convert("Voxtral-Mini-4B-Realtime-2602", "voxtral-q4_k_m.gguf")

The command lines are `voxtral convert` and convert/convert_voxtral.py.
"""

from .conversion import Summary, convert, convert_decoder
from .errors import ConversionError
from .reading.checkpoint import Checkpoint
from .reading.safetensors_file import SafetensorsFile
from .verification import Deviation, verify
from .writing.gguf_file import GgufFile
from .writing.quantize import FILE_TYPES

__all__ = [
    "FILE_TYPES",
    "Checkpoint",
    "ConversionError",
    "Deviation",
    "GgufFile",
    "SafetensorsFile",
    "Summary",
    "convert",
    "convert_decoder",
    "verify",
]
