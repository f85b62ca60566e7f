"""From the blobs of a label set to what can be used, wherever the blobs are."""
