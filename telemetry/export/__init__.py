"""Exporters that are watched: what a collector took or did not, and an end that waits no longer than it helps."""
