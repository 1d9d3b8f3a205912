"""A picture of a transcript: waveform, mel, words at their times and the tokens of all slots.

People look rather than read when a transcript is wrong. The mel is the core's own, what the model
heard; nothing is computed a second time.
"""

from __future__ import annotations

import io
import logging
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .audio import RATE, AudioLike, Chunks
from .console.output import Output, identities, is_picture
from .console.printable import printable
from .errors import ArgumentError, AudioError
from .streaming.model import Model
from .text.pieces import SLOT_MS, Piece
from .text.transcript import Transcript

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from .audio import Samples

    Heard = tuple[Samples, Samples, Transcript]

N_MEL, MEL_MS = 128, 10  # bins of a mel frame, and its length
LEFT_PAD_SLOTS = 32  # silence before the first sample, which the mel shows too
STRIP_S = 8.0  # audio in a strip of the picture
MAX_STRIPS = 15
LEGEND = "tokens: dot = pad, bar = marker, box = text    times of words are approximate"
INK, PALE, ACCENT, WARM = "#1f2933", "#9aa5b1", "#2563a8", "#c2571a"


def plot(
    model: Model,
    audio: AudioLike,
    target: Path,
    *,
    title: str,
    from_s: float = 0.0,
    to_s: float | None = None,
    delay_ms: int | None = None,
) -> None:
    """Transcribe `audio` and draw its seconds `from_s` to `to_s` (None: its end) into a file.

    The suffix of `target` names the format: .png, .svg or .pdf. Raises ArgumentError for a part
    that is empty or longer than two minutes, and for other suffixes, ImportError if the extra is
    missing, OutputError if the file cannot be written, and what Model.transcribe() raises.
    """
    figures = _matplotlib()
    kind = target.suffix.lower()
    if kind not in (".png", ".svg", ".pdf"):
        raise ArgumentError(f"{target}: a picture is .png, .svg or .pdf: name it so")
    read = identities([audio] if isinstance(audio, (str, os.PathLike)) else [])
    parts = Chunks(audio)
    with Output(target, inputs=read, over=is_picture) as output:
        heard = _heard(model, parts, to_s, delay_ms)
        figure = _drawn(figures, model, heard, title, from_s, to_s)
        picture = io.BytesIO()  # a .pdf file is not written from its beginning to its end
        with warnings.catch_warnings():
            # Characters of scripts that no font here has are drawn as boxes.
            warnings.filterwarnings("ignore", "Glyph", UserWarning)
            figure.savefig(picture, format=kind[1:])
        output.write(picture.getbuffer())
    parts.check()


def _drawn(
    figures: Any, model: Model, heard: Heard, title: str, from_s: float, to_s: float | None
) -> Figure:
    """Return the picture of the seconds `from_s` to `to_s`."""
    samples, mel, transcript = heard
    # The text of the last word may stand in slots after the audio.
    end_s = max([transcript.duration_s, *(piece.end_ms / 1000 for piece in transcript.pieces)])
    end_s = end_s if to_s is None else min(to_s, end_s)
    if not from_s < end_s:
        raise ArgumentError(
            f"no audio lies between {from_s:.4g} and {end_s:.4g} s: choose another part"
        )
    n_strips = int(np.ceil((end_s - from_s) / STRIP_S - 1e-9))
    if n_strips > MAX_STRIPS:
        raise ArgumentError(
            f"{end_s - from_s:.0f} s are too much for a picture: choose at most "
            f"{MAX_STRIPS * STRIP_S:.0f} s with --from and --to"
        )
    strip_s = min(STRIP_S, end_s - from_s)
    figure: Figure = figures.Figure(
        figsize=(16, 0.8 + 3.6 * n_strips), layout="constrained", dpi=100
    )
    figure.suptitle(
        printable(f"{title}   -   {transcript.model}, delay {transcript.delay_ms} ms"),
        x=0.01, ha="left", color=INK, fontsize=12, parse_math=False,
    )  # fmt: skip
    figure.text(
        0.995, 0.995, LEGEND, ha="right", va="top", color=PALE, fontsize=9, parse_math=False
    )
    heights = [1.1, 0.55, 1.7, 0.75]
    axes = figure.subplots(4 * n_strips, 1, gridspec_kw={"height_ratios": heights * n_strips})
    peak = max(float(np.abs(samples).max(initial=0)), 1e-3)
    slots = transcript.slots()
    for i in range(n_strips):
        wave, words, bins, lane = axes[4 * i : 4 * i + 4]
        begin_s = from_s + i * strip_s
        for each in (wave, words, bins, lane):
            each.set_xlim(begin_s, begin_s + strip_s)
            each.tick_params(labelbottom=False, bottom=False, left=False, labelleft=False)
            each.tick_params(colors=INK, labelsize=8)
            for side in each.spines.values():
                side.set_visible(False)
        _draw_wave(wave, samples, peak, begin_s, strip_s)
        _draw_words(words, transcript, begin_s, strip_s)
        _draw_mel(bins, mel, begin_s, strip_s)
        _draw_tokens(lane, slots, model, begin_s, strip_s)
        lane.tick_params(labelbottom=True, bottom=True)
        lane.set_xlabel("seconds" if i == n_strips - 1 else "", color=INK, fontsize=8)
    return figure


def _heard(model: Model, audio: Chunks, to_s: float | None, delay_ms: int | None) -> Heard:
    """Return the samples [n], the mel [frames, 128] from the first sample on, and the text."""
    parts: list[Samples] = []
    rows: list[Samples] = []
    slots: list[Piece] = []
    with model.stream(delay_ms=delay_ms) as stream:
        stream.watch("mel")

        def decode() -> None:
            for slot in stream.slots():
                slots.append(slot)
                rows.append(stream.tensor("mel"))

        n = 0
        for chunk in audio:
            parts.append(chunk)
            stream.push(chunk)
            decode()
            n += len(chunk)
            # What follows the part is heard as far as its last words need it.
            if to_s is not None and n > (to_s + 4) * RATE:
                break
        if n == 0:
            raise AudioError("there are no samples: there is nothing to draw")
        stream.end()
        decode()
    mel = np.concatenate(rows).reshape(-1, N_MEL)[LEFT_PAD_SLOTS * SLOT_MS // MEL_MS :]
    transcript = Transcript.of(
        slots,
        model,
        duration_s=n / RATE,
        model=model.name,
        delay_ms=delay_ms or model.default_delay_ms,
    )
    return np.concatenate(parts), mel, transcript


def _draw_wave(axes: Axes, samples: Samples, peak: float, begin_s: float, length_s: float) -> None:
    first = int(begin_s * RATE)
    part = samples[first : first + int(length_s * RATE)]
    width = max(int(length_s * RATE) // 1600, 1)  # samples of a column of the picture
    columns = part[: len(part) // width * width].reshape(-1, width)
    at_s = begin_s + (np.arange(len(columns)) + 0.5) * width / RATE
    axes.fill_between(
        at_s, columns.min(axis=1), columns.max(axis=1), color=ACCENT, linewidth=0.4, step="mid"
    )
    axes.set_ylim(-peak, peak)
    _label(axes, "wave")


def _draw_words(axes: Axes, transcript: Transcript, begin_s: float, length_s: float) -> None:
    axes.set_ylim(0, 1)
    for word in transcript.words:
        start_s, end_s = word.start_ms / 1000, word.end_ms / 1000
        if end_s <= begin_s or start_s >= begin_s + length_s:
            continue
        axes.fill_between([start_s, end_s], 0.05, 0.95, color="#e3edf7", linewidth=0)
        axes.plot([end_s, end_s], [0.05, 0.95], color=ACCENT, linewidth=1.5)
        shown = min(max((start_s + end_s) / 2, begin_s), begin_s + length_s)
        axes.text(
            shown, 0.5, printable(word.text.strip()), ha="center", va="center", fontsize=10,
            color=INK, clip_on=True, parse_math=False,
        )  # fmt: skip
    _label(axes, "words")


def _draw_mel(axes: Axes, mel: Samples, begin_s: float, length_s: float) -> None:
    first, n = int(begin_s * 1000 / MEL_MS), int(length_s * 1000 / MEL_MS)
    part = mel[first : first + n]
    axes.imshow(
        part.T,
        origin="lower",
        aspect="auto",
        interpolation="nearest",
        cmap="magma",
        vmin=-0.625,  # digital silence
        vmax=max(float(mel.max(initial=0.0)), 0.5),
        extent=(begin_s, begin_s + len(part) * MEL_MS / 1000, 0, N_MEL),
    )
    axes.set_xlim(begin_s, begin_s + length_s)
    _label(axes, "mel")


def _draw_tokens(
    axes: Axes, slots: list[Piece], model: Model, begin_s: float, length_s: float
) -> None:
    axes.set_ylim(0, 1)
    for slot in slots:
        start_s, end_s = slot.start_ms / 1000, slot.end_ms / 1000
        if end_s <= begin_s or start_s >= begin_s + length_s:
            continue
        middle_s = (start_s + end_s) / 2
        if slot.text:
            axes.fill_between([start_s, end_s], 0.1, 0.9, color="#e3edf7", linewidth=0)
            text = printable(slot.text.replace(" ", "\u00b7"))
            axes.text(
                middle_s, 0.5, text, ha="center", va="center", rotation=90, fontsize=8, color=INK,
                clip_on=True, parse_math=False,
            )  # fmt: skip
        elif slot.token == model.token_word:
            axes.fill_between([start_s, end_s], 0.1, 0.9, color=WARM, linewidth=0)
        elif slot.token == model.token_pad:
            axes.plot([middle_s], [0.5], ".", color=PALE, markersize=2.5)
        else:
            axes.plot([middle_s], [0.5], "x", color=WARM, markersize=4)
    _label(axes, "tokens")


def _label(axes: Axes, text: str) -> None:
    axes.set_ylabel(text, rotation=0, ha="right", va="center", fontsize=9, color=INK)


def _matplotlib() -> Any:
    # It would tell where it keeps its cache for want of a home directory.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    try:
        from matplotlib import figure
    except ImportError:
        raise ImportError(
            "a picture needs the extra plot: pip install 'voxtral-edge[plot]'"
        ) from None
    except RuntimeError:  # of Path.home(), before matplotlib 3.11
        raise ImportError(
            "matplotlib finds no home directory for its settings: set MPLCONFIGDIR"
        ) from None
    return figure
