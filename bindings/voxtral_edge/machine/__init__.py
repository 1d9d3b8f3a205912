"""The machine: stored models, what is in them, how fast they run here and would run."""
