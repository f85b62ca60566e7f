"""The labelcast service and the producers of label sets."""
