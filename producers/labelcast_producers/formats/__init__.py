"""Importers: label files that other projects wrote become label sets."""
