"""Between the I/O workers and the decoder process."""
