"""What a loss over a vocabulary costs that never holds its logits."""
