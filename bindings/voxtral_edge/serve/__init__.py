"""The server: one small file for each protocol, over sessions that know none."""
