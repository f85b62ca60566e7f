"""Rows on the disk of this machine: files, checks, upkeep."""
