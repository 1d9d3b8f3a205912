"""The main program of a worker's process: jobs come on a socket, news leave on it.

It ends when the other end does, whatever it is at, so that nothing is left of a run that was
killed.
"""

from __future__ import annotations

import os
import signal
import sys
import threading

from ...errors import VoxtralError
from ...system import here
from .job import Broken, News, Ready, Settings
from .lanes import Lanes


def main() -> None:
    """Do what comes on the connection that is the argument."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the foreman's, who ends this process
    connection = here.to_parent(sys.argv[1])
    guard = threading.Lock()

    def tell(news: News) -> None:
        try:
            with guard:
                connection.send(news)
        except OSError:  # the foreman is gone
            os._exit(1)

    try:
        settings: Settings = connection.recv()
        try:
            lanes = Lanes(settings, tell)
        except (VoxtralError, OSError, MemoryError, RuntimeError) as error:
            tell(Broken(str(error) or "out of memory"))
            return
        tell(Ready(lanes.n))
        while True:
            lanes.start(connection.recv())
    except (EOFError, OSError):
        os._exit(0)  # threads may be at work


if __name__ == "__main__":
    main()
