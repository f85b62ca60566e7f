"""DistillKit's compressed log-probabilities, one token a row."""
