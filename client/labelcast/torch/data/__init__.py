"""What a training run reads, in which order, and where it resumes."""
