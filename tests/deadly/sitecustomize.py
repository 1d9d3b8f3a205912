"""Who opens a file called deadly is killed, in every Python that has this folder on its path.

So a file can end the process that decodes it, as a fault in a decoder would.
"""

import os
import signal
import sys


def _die(event: str, args: tuple[object, ...]) -> None:
    if event == "open" and isinstance(args[0], str) and "deadly." in args[0]:
        os.kill(os.getpid(), signal.SIGKILL)


sys.addaudithook(_die)
