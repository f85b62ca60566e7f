"""Dense labels to label sets."""
