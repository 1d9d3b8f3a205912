"""transformers as the judge of tests/reference.py and of the core; needs torch (make oracle)."""
