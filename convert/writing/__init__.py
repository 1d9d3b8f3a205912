"""What is written: blocks of numbers, keys, and the GGUF file of a model or of a decoder alone."""
