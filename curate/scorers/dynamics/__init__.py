"""Scores from what a training run reveals of each row: its logits, epoch by epoch."""
