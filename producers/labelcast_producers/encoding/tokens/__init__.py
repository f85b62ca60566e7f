"""Predictions of language models → packed rows."""
