"""What a training run reads, in which order, and where it goes on."""
