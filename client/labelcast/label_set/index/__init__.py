"""Which views a label set has, and in which rows."""
