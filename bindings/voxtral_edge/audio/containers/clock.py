"""Where samples belong by their time stamps, which are neither exact nor always there."""

from __future__ import annotations

JITTER_S = 0.1  # stamps are not more exact than this
JUMP_S = 10.0  # a gap that is longer, in formats whose stamps may begin anew, is none
LONGEST_S = 30 * 3600.0  # and one that nobody means


class Clock:
    """The time of samples that come one after another; what is missing between them is a gap."""

    def __init__(self, *, begins_anew: bool) -> None:
        """Begin at 0; `begins_anew`: the format is one whose stamps may do that."""
        self.at_s = 0.0  # where the last samples ended
        self._offset_s = 0.0  # from stamps to times
        self._next_s: float | None = None  # the stamp that would leave no gap
        self._longest_s = JUMP_S if begins_anew else LONGEST_S

    def gap_s(self, stamp_s: float | None, duration_s: float) -> float:
        """Return the seconds of silence before samples of a stamp, if there is one."""
        gap_s = 0.0
        if stamp_s is not None:
            longest_s = LONGEST_S if self._next_s is None else self._longest_s
            if not -JITTER_S <= stamp_s - (self._next_s or 0.0) <= longest_s:
                self._offset_s = self.at_s - stamp_s  # another file was joined
            late_s = stamp_s + self._offset_s - self.at_s
            gap_s = late_s if late_s > JITTER_S else 0.0
            self._next_s = stamp_s + duration_s
        self.at_s += gap_s + duration_s
        return gap_s
