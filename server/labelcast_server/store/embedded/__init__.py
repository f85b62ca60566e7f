"""The Redis that a service starts for itself."""
