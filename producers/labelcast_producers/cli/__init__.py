"""Commands that make label sets."""
