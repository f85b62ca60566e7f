"""What files of several formats share: rows, numbers, names."""
