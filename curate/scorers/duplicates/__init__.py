"""Scorers of rows that are there already: word for word, nearly so, or in meaning."""
