"""Runs a teacher over seeded views and writes dense labels, in bounded memory."""
