"""How loud sound is, and what is too quiet to be heard well."""

from __future__ import annotations

import math

QUIET_DBFS = -45.0  # speech whose largest sample is below this is too quiet: docs/quiet.md
MUTED_DBFS = -80.0  # and not even a quiet room is below this


def dbfs(peak: float) -> float:
    """Return a largest sample, 0 to 1, in decibels of full scale; -180 for silence."""
    return 20 * math.log10(max(peak, 1e-9))
