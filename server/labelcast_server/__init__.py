"""The labelcast service."""
