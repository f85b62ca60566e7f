"""Allows `python -m labelcast_server.cli`."""

from labelcast_server.cli import main

main()
