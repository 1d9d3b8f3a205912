"""What workers do with a source, and the processes and machines on which they do it."""
