"""The model, its streams, and what comes out of them slot by slot."""
