"""Allows `python -m labelcast.cli`."""

from labelcast.cli import main

main()
