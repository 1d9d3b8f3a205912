"""What comes in: bodies of uploads, the process that decodes them, samples that come live."""
