"""What keeps the processes of a service running."""
