"""Dense labels on disk: rows in files, and the directory that says what they mean."""
