"""The decoder in llama.cpp: a second opinion on this package's own, and the way to a GPU.

    with vox.Model("model.gguf") as model, llama.Decoder("decoder.gguf") as decoder:
        for piece in decoder.slots(model, "talk.wav"): ...

Audio becomes embeddings here; llama.cpp, through the low-level interface of llama-cpp-python, runs
the file that `voxtral convert --decoder-only` made. Each position hears its audio embedding plus
the embedding of the token before it, in the same schedule as in csrc/stream.c. Before a position is
decoded, those that have left the window are forgotten: so the window is exact, and memory bounded.
"""

from __future__ import annotations

import codecs
import contextlib
import ctypes
import logging
import os
import weakref
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from .audio import AudioLike, Chunks, Floats
from .convert import ConversionError, GgufFile
from .convert.writing.llama import ARCHITECTURE, DELAY_KEY
from .errors import ComputeError, ModelClosed, ModelError, ModelFormatError, ModelNotFound
from .machine import host
from .streaming.model import Model
from .streaming.stream import Stream
from .text.pieces import SLOT_MS, Piece

try:
    import llama_cpp
except ImportError:
    raise ImportError(
        "the decoder in llama.cpp needs the extra llama: pip install 'voxtral-edge[llama]'"
    ) from None

EMBEDDING = "token_embd.weight"
F32, F16 = 0, 1  # ggml's numbers, and file types of the same name
WARNING, ERROR = 2, 3  # ggml's log levels

logger = logging.getLogger(__name__)
logger.addHandler(logging.NullHandler())


@llama_cpp.llama_log_callback  # type: ignore[untyped-decorator]
def _log(level: int, text: bytes, _: Any) -> None:
    """Pass on what llama.cpp would print; its errors are ours only where a call fails."""
    ours = {WARNING: logging.INFO, ERROR: logging.WARNING}.get(level, logging.DEBUG)
    logger.log(ours, "%s", text.decode(errors="replace").rstrip("\n"))


class Decoder:
    """The decoder of one delay, `delay_ms`, loaded by llama.cpp.

    It may serve several runs of slots() at a time. Where llama.cpp was built for a GPU, all layers
    are put there. While it is used, what llama.cpp reports goes to the logger of this module.
    """

    def __init__(self, path: str | os.PathLike[str], *, threads: int | None = None) -> None:
        """Open a file made by `voxtral convert --decoder-only`.

        `threads` compute; None: one per processor this process may use. Raises ModelNotFound,
        ModelFormatError or ModelError.
        """
        if not Path(path).exists():
            raise ModelNotFound(
                f"there is no file {path}: make one with voxtral convert --decoder-only"
            )
        self._threads = threads or host.n_processors()
        self._weights: _Weights | None = _Weights(Path(path))
        self.delay_ms = self._weights.delay_ms

    def slots(self, model: Model, audio: AudioLike) -> Generator[Piece, None, None]:
        """Yield what model.slots(audio, delay_ms=self.delay_ms) does, decoded by llama.cpp.

        `model` is the model that the decoder is part of; any type of its weights will do. Raises
        what model.slots() raises, ModelClosed, and ModelFormatError for another model.
        """
        weights = self._weights
        if weights is None:
            raise ModelClosed("this decoder was closed: open it again with Decoder(path)")
        if (model.n_vocab, model.decoder_dim) != (weights.n_vocab, weights.dim):
            raise ModelFormatError(
                f"{weights.file.path} is the decoder of another model than {model.name}: convert "
                "both from one checkpoint"
            )
        text = codecs.getincrementaldecoder("utf-8")("replace")
        token, heard = weights.bos, list[Floats]()
        with (
            model.stream(delay_ms=self.delay_ms) as stream,
            contextlib.closing(_Run(weights, self._threads)) as run,
        ):
            for position, (audio_row, is_last) in enumerate(_embeddings(stream, audio)):
                heard.append(audio_row + weights.file.values(EMBEDDING, token, token + 1))
                token = weights.pad
                index = position + 1 - weights.n_prompt
                if index < 0 and position + 1 < weights.window:
                    continue  # the prompt goes in at once, as far as one window reaches
                said = run.next(np.stack(heard), position)
                heard.clear()
                if index < 0:
                    continue
                token = said
                is_text = token >= model.n_special
                piece = text.decode(model.token_bytes(token) if is_text else b"", final=is_last)
                yield Piece(piece, token, SLOT_MS * index, SLOT_MS * (index + 1))

    def close(self) -> None:
        """Give up the weights; runs of slots() that have begun keep them. May be repeated."""
        self._weights = None

    def __enter__(self) -> Decoder:
        """Return the decoder."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close the decoder."""
        self.close()


class _Weights:
    """A file, what it says, and llama.cpp's model of it; freed with the last run that uses them."""

    def __init__(self, path: Path) -> None:
        try:
            self.file = GgufFile(path)
        except ConversionError as error:
            raise ModelFormatError(str(error)) from error
        weakref.finalize(self, self.file.close)
        keys = {key: entry.value for key, entry in self.file.metadata.items()}
        if keys.get("general.architecture") != ARCHITECTURE or DELAY_KEY not in keys:
            raise ModelFormatError(
                f"{path} is not a decoder for llama.cpp: make one with voxtral convert "
                "--decoder-only"
            )
        self.delay_ms = int(keys[DELAY_KEY])
        self.window = int(keys["voxtral_edge.decoder.window"])
        self.n_prompt = int(keys["voxtral_edge.stream.n_left_pad"]) + 1 + self.delay_ms // SLOT_MS
        self.bos = int(keys["tokenizer.ggml.bos_token_id"])
        self.pad = int(keys["tokenizer.voxtral_edge.streaming_pad"])
        self.n_vocab, self.dim = self.file.tensors[EMBEDDING].shape
        self.kv_type = F32 if keys["general.file_type"] == F32 else F16
        llama_cpp.llama_log_set(_log, ctypes.c_void_p())
        llama_cpp.llama_backend_init()
        params = llama_cpp.llama_model_default_params()
        params.n_gpu_layers = int(keys["llama.block_count"]) + 1
        self.model = llama_cpp.llama_model_load_from_file(os.fsencode(path), params)
        if not self.model:
            raise ModelError(f"{path}: llama.cpp cannot load it: the logger {__name__} has why")
        weakref.finalize(self, llama_cpp.llama_model_free, self.model)


class _Run:
    """One sequence of positions through llama.cpp."""

    def __init__(self, weights: _Weights, threads: int) -> None:
        self._weights = weights
        n_rows = min(weights.n_prompt, weights.window)
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = weights.window
        params.n_batch = params.n_ubatch = n_rows
        params.n_threads = params.n_threads_batch = threads
        params.type_k = params.type_v = weights.kv_type
        # Flash attention rounds to half precision, whatever the type of the weights.
        params.flash_attn_type = llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED
        self._context = llama_cpp.llama_init_from_model(weights.model, params)
        if not self._context:
            raise ModelError(
                f"{weights.file.path}: llama.cpp cannot make a context of {weights.window} "
                f"positions: the logger {__name__} has why"
            )
        self._batch = llama_cpp.llama_batch_init(n_rows, weights.dim, 1)

    def close(self) -> None:
        llama_cpp.llama_batch_free(self._batch)
        llama_cpp.llama_free(self._context)

    def next(self, rows: Floats, position: int) -> int:
        """Hear rows [n, dim], the last at a position; return the likeliest token after it."""
        batch, n = self._batch, len(rows)
        ctypes.memmove(batch.embd, np.ascontiguousarray(rows).ctypes.data, rows.nbytes)
        batch.n_tokens = n
        for i in range(n):
            batch.pos[i] = position + 1 - n + i
            batch.n_seq_id[i], batch.seq_id[i][0] = 1, 0
            batch.logits[i] = i == n - 1
        oldest = position + 1 - self._weights.window
        if oldest > 0:
            memory = llama_cpp.llama_get_memory(self._context)
            llama_cpp.llama_memory_seq_rm(memory, 0, 0, oldest)
        status = llama_cpp.llama_decode(self._context, batch)
        if status != 0:
            raise ComputeError(f"llama.cpp failed (status {status}): the logger {__name__} has why")
        logits = np.ctypeslib.as_array(
            llama_cpp.llama_get_logits_ith(self._context, -1), (self._weights.n_vocab,)
        )
        if not np.isfinite(logits).all():
            raise ComputeError("llama.cpp gave values that are not finite: the file is damaged")
        return int(logits.argmax())


def _embeddings(stream: Stream, audio: AudioLike) -> Iterator[tuple[Floats, bool]]:
    """Every slot's audio embedding [dim], as soon as the audio allows, and whether it is the last.

    The right padding is long enough that something always comes after the end of the audio.
    """
    parts = Chunks(audio)
    for chunk in parts:
        stream.push(chunk)
        for row in stream.embeddings():
            yield row, False
    stream.end()
    *rest, last = stream.embeddings()
    yield from ((row, False) for row in rest)
    yield last, True
    parts.check()
