"""What imported labels become: dense labels, or a label set of their top k."""
