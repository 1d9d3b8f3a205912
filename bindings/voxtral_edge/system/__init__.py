"""What each operating system is asked in words of its own: one file per system, as in the core.

    from ..system import here

    here.write_at(fd, data, offset)

`here` is the file of the system that this is. All have the same functions and constants; what one
of them cannot do is said there. No other room asks which system it is on.
"""

import sys

if sys.platform == "win32":
    from . import windows as here
elif sys.platform == "darwin":
    from . import macos as here
else:
    from . import linux as here

__all__ = ["here"]
