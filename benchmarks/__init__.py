"""What the README's figures come from; each module writes JSON into `results/`."""
