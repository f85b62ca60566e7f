"""Label sets from teachers and other people's files: files in, files out."""
