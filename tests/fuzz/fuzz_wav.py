"""Any bytes as a pipe of WAV or raw samples: finite 16 kHz samples come out, or one AudioError.

Run by scripts/fuzz with atheris, which passes the arguments on to libFuzzer. test_fuzz.py runs the
kept inputs without it.
"""

from __future__ import annotations

import io
import sys

import numpy as np
from voxtral_edge import AudioError
from voxtral_edge.audio import read_pcm


def check(data: bytes) -> None:
    """Read the pipe to its end, as a live stream would."""
    n = 0
    try:
        for block in read_pcm(io.BytesIO(data)):
            assert block.dtype == np.float32 and block.ndim == 1 and np.isfinite(block).all()
            n += len(block)
            if n > 50_000_000:  # a low rate in the header stretches a few bytes to hours
                break
    except AudioError as error:
        assert "\n" not in str(error)


if __name__ == "__main__":
    import atheris

    atheris.instrument_all()
    atheris.Setup(sys.argv, check)
    atheris.Fuzz()
