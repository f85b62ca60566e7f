"""Uploads, validation and the life of label sets."""
