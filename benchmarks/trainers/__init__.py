"""What labels cost a training loop, beside the same loop with its labels in memory."""
