"""Reaching a service: what both of its clients share."""
