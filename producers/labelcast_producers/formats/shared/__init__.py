"""Code that several formats share: rows, numbers, names."""
