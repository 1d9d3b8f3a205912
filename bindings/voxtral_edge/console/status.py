"""How a command ended, as its caller is told."""

from __future__ import annotations

import signal

OK, FAILURE, BAD_INPUT = 0, 1, 2
SIGNALLED = 128  # the status of what a signal ended is this and its number
INTERRUPTED, UNREAD = SIGNALLED + signal.SIGINT, SIGNALLED + 13  # SIGPIPE, by whatever name
