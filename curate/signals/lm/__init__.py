"""Language models as scorers use them: loaded here or behind a server, fed in batches that are planned by length."""
