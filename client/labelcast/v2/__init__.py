"""Generated from proto/labelcast/v2 by proto/generate.py; do not edit."""
