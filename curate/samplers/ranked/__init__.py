"""Samplers that need scores (or nothing) alone: no embeddings, no index."""
