"""Scorers that compare rows with a target set."""
