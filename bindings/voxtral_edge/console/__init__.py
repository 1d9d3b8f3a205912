"""What every part that talks to a person stands on: files that are written, and the terminal."""
