"""From the blobs of a label set to its usable parts, wherever the blobs are."""
