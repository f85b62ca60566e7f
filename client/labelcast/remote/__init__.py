"""Talking to a service."""
