"""Importers: label files of other projects become label sets."""
