"""Scorers that read what a training run said of each row: its logits' scalars, epoch by epoch."""
