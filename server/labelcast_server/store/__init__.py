"""Where label sets are kept: one contract, in memory for tests, in Redis for real."""
