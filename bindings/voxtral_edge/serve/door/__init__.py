"""The door: who may come in, and who stands there and has said nothing yet."""
