"""Runs a causal language model over text and writes a label set, in bounded memory."""
