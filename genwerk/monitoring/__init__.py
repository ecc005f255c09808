"""Watching: metrics for Prometheus and the log of every answer."""
