"""Handles: pointers that own what the core puts behind them.

A handle is made before the core is called and owns from then on what the call opened, so that an
interruption at any moment loses nothing: it is closed with the last reference to the handle, or by
ffi.release() (also `with handle:`).
"""

from __future__ import annotations

from typing import Any

from .._voxtral import ffi, lib


def new_model() -> Any:
    """Return a vox_model ** for vox_model_open."""
    return ffi.gc(ffi.new("vox_model **"), lib.drop_model)


def new_stream() -> Any:
    """Return a vox_stream ** for the calls that open a stream."""
    return ffi.gc(ffi.new("vox_stream **"), lib.drop_stream)
