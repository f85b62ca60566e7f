"""labelcast: soft labels by view, from compressed codes."""
