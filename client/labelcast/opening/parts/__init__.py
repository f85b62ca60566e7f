"""The contents of an opened label set."""
