"""What a client counts for Prometheus, if it is asked to."""
