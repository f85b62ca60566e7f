"""Writes label sets as files of other projects."""
