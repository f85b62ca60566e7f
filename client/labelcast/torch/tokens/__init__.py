"""Losses over vocabularies: labels stay rows, and no more than a slice of logits exists."""
