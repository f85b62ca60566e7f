"""What the figures of README and docs come from; each module writes JSON into `results/`."""
