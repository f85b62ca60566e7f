"""How fast labels are encoded, and what the faster search costs of their KL."""
