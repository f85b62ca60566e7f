"""What producer and student both know about a view without any code."""
