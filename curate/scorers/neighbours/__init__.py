"""Scorers of where a row lies and what its neighbours say."""
