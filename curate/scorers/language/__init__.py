"""Scorers of the text itself."""
