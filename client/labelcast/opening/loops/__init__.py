"""Labels for training loops of one's own, which may go on where labels are missing."""
