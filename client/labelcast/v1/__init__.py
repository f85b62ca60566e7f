"""Generated from proto/labelcast/v1 by proto/generate.py; do not edit."""
