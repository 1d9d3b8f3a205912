"""Kinds of file: which it is, how it is read, and whether it is whole."""
