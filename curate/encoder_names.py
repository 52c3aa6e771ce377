"""The encoders that `curate embed` knows, by name."""

from typing import Final

ENCODERS: Final[dict[str, str]] = {
    "static": "the mean of the words' vectors, from a table that comes with the package; the default for texts",
    "pixels": "principal components of the pixels; the default for images",
    "tfidf": "hashed words and pairs of words, weighted by rarity, on their first singular axes",
    "column": "vectors that are there already (column:NAME), or a table's numbers; the default for those",
    "run": "run:DIR: what the last layer of a recorded run's final model reads",
    "sentence": "sentence:NAME-OR-PATH: a sentence-transformers model",
    "hf": "hf:NAME-OR-PATH: the mean of a transformers encoder's last hidden states",
    "timm": "timm:NAME: a timm model's pooled features",
}
