"""What is read: checkpoints of both layouts, their parameters and words, and where they lie."""
