"""Streams of labels without input and output: what is asked for next, and what a reply may be."""
