"""Data sets that carry their labels: images and soft labels in one file."""
