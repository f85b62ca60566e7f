"""Starts the processes of a service, watches them and stops them."""
