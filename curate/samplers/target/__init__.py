"""Samplers that choose for the rows of a target."""
