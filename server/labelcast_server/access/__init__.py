"""Who is asking and what they may do: one decision for gRPC and REST."""
