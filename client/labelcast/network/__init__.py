"""Reaching a service: code that the gRPC and the REST client share."""
