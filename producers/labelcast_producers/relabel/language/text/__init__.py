"""What is labelled: text or token files, as sequences of tokens."""
