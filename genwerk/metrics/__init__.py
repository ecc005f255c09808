"""Metrics: pure functions from predictions to numbers; no networks here."""
