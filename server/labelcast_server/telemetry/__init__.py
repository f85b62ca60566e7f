"""What a service says of its work, for Prometheus."""
