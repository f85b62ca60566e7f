"""From a label set in the store to rows for a reader."""
