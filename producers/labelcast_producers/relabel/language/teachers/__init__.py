"""Who labels: a causal language model, its head, and what it predicts."""
