"""Makes label sets from teachers and other projects' files: files in, files out."""
