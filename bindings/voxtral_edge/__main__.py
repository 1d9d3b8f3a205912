"""Run the command as `python -m voxtral_edge`."""

import sys

from .cli import main

sys.exit(main())
