"""Metrics, from a declaration to data points."""
