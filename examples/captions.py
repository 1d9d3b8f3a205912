"""Captions of what a microphone hears, until Ctrl-C: python examples/captions.py [model.gguf]."""

import signal
import sys

import voxtral_edge as vox

with vox.Model(*sys.argv[1:2]) as model, vox.Microphone() as microphone:
    signal.signal(signal.SIGINT, lambda *_: microphone.stop())
    for piece in model.pieces(microphone):
        print(piece.text, end="", flush=True)
    print()
    if microphone.lost_s:
        print(f"{microphone.lost_s:.1f} s of audio were lost", file=sys.stderr)
