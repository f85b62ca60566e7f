"""What a student of a language model reads: sequences, packed rows, their order and labels."""
