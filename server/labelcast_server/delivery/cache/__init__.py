"""Rows on this machine's disk: files, checks, upkeep."""
