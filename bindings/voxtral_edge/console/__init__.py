"""What all that talks to a person stands on: lines, options, signals, files written."""
