"""Static embeddings: a text is the mean of its word pieces' vectors, looked up in a table that ships with the package.

Tulkens and van Dongen 2024, "Model2Vec"; table potion-base-4m-int8 (MIT), see `curate/bundled/static/README.md`.
"""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from curate.signals.wordpiece import WordPiece, words

TABLE: Final = Path(__file__).parents[1] / "bundled" / "static"
BLOCK: Final = 8192  # texts whose words are held at a time


class StaticTable:
    """Text to vector, (n, d) float32 of length 1, NaN where no piece of a text is known.

    The mean is over all pieces without special and unknown ones, as in the official code, which besides reads only the first 512; ours
    reads the whole text. A word is spelled once in 8,192 texts, however often it comes: a text costs a dictionary look-up a word and one
    sparse product. The table is int8, so that its sums are exact and do not depend on which texts are embedded together.
    """

    def __init__(self, folder: Path = TABLE) -> None:
        self.folder = folder

    @cached_property
    def table(self) -> NDArray[np.float32]:
        """A vector a piece, (pieces, d)."""
        from safetensors.numpy import load_file

        found: NDArray[np.float32] = load_file(str(self.folder / "table.safetensors"))["embeddings"].astype(np.float32)
        return found

    @cached_property
    def pieces(self) -> WordPiece:
        return WordPiece((self.folder / "vocab.txt").read_text(encoding="utf-8").split("\n")[:-1])

    def __call__(self, texts: Sequence[str], dimensions: int) -> NDArray[np.float32]:
        """The first `dimensions` numbers, which hold the most: the table's axes are principal ones."""
        blocks = [self._mean(texts[start : start + BLOCK]) for start in range(0, len(texts), BLOCK)]
        sums = np.concatenate([block[:, :dimensions] for block in blocks])
        length = np.linalg.norm(sums, axis=1, keepdims=True)
        return np.where(length > 0, sums / np.where(length > 0, length, 1), np.float32(np.nan))

    def _mean(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """The sum, whose direction is the mean's."""
        split = words(texts)
        place: dict[str, int] = {}
        found = [place.setdefault(word, len(place)) for text in split for word in text]
        spelled = [self.pieces.spell(word) for word in place]
        used = _counts(found, [len(text) for text in split], len(place))
        return np.asarray(
            used @ (_counts([p for word in spelled for p in word], [len(word) for word in spelled], len(self.table)) @ self.table)
        )


def _counts(columns: Sequence[int], lengths: Sequence[int], width: int) -> Any:
    """A sparse matrix with a one for each column that a row names, (rows, width)."""
    from scipy.sparse import csr_matrix

    ends = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    return csr_matrix((np.ones(len(columns), np.float32), np.asarray(columns, np.int64), ends), shape=(len(lengths), width))
