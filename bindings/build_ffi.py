"""Write the C source of the compiled module `voxtral_edge._voxtral` from the public header.

Usage: python build_ffi.py VOXTRAL_H OUT.c    (CMake runs this; nobody else needs to)

The declarations are the text of the header between its two cffi marks, so the header stays their
only copy. The C compiler checks them once more, because the generated source includes the header.
"""

import sys
from pathlib import Path

from cffi import FFI

BEGIN = "/* cffi: begin */"
END = "/* cffi: end */"
# What frees memory for the collector of Python is C: no signal can interrupt it.
SOURCE = """
#include "voxtral.h"
static void drop_model(vox_model **model) { vox_model_close(*model); }
static void drop_stream(vox_stream **stream) { vox_stream_close(*stream); }
"""


def main() -> None:
    """Read the header named first, write the C source named second."""
    header, out = sys.argv[1:]
    text = Path(header).read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        sys.exit(f"build_ffi.py: {header} must hold {BEGIN} and {END} exactly once each")
    ffi = FFI()
    ffi.cdef(text.split(BEGIN)[1].split(END)[0])
    ffi.cdef("void drop_model(vox_model **model); void drop_stream(vox_stream **stream);")
    ffi.set_source("voxtral_edge._voxtral", SOURCE)
    ffi.emit_c_code(out)


if __name__ == "__main__":
    main()
