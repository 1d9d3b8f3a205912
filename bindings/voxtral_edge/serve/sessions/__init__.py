"""Sessions: audio in, slots out; who computes them, lets them in, counts and keeps them."""
