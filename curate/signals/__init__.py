"""What a model reveals about each row: training runs, the recorder, checkpoints. Expensive, computed once, kept."""
