"""The encoders that `curate embed` knows, by name."""

from typing import Final

ENCODERS: Final[dict[str, str]] = {
    "pixels": "principal components of the pixels; the default for images",
    "tfidf": "hashed words and pairs of words, weighted by rarity, on their first singular axes; the default for texts",
    "column": "vectors that are there already (column:NAME), or a table's numbers",
}
