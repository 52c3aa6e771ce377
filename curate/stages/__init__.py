"""One file a command: each opens stores, calls the rooms by name, and writes a store."""
