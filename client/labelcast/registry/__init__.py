"""The service's admin API, from Python."""
