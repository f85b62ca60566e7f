"""Where label sets are stored: one contract, in memory for tests, in Redis for production."""
