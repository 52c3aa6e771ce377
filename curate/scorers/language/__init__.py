"""Scorers that read the text itself, most of them with a language model."""
