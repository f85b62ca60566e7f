"""Decoding codes to labels in a process of its own, and how I/O workers talk to it."""
