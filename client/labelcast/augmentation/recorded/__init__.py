"""Views that another producer drew."""
