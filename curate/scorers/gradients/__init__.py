"""Scorers that read gradients of the run's model at its checkpoints."""
