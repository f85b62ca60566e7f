"""Who asks, and what they may do: decided here, for gRPC and REST alike."""
