"""What both ends know of a view without any code."""
