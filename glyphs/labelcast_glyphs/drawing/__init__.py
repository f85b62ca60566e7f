"""Characters, the typefaces that have them, and how they are drawn."""
