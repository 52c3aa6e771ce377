"""The geometry of embeddings: nearest neighbours, clusters, sketches. Functions on arrays; nothing here knows a scorer or a sampler."""
