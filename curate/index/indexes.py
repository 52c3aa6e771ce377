"""The FAISS index for a size: flat, an inverted file, one of product codes, or HNSW; why; and its file, which is only ever a cache."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from curate.disk import write_whole
from curate.errors import OptionError
from curate.index.vectors import Vectors
from curate.protocols import Rows
from curate.rng import KeyedRandom

Kind = Literal["auto", "flat", "ivf", "ivfpq", "hnsw"]

FLAT: Final = 100_000  # rows up to which every pair is compared
A_CELL: Final = 64  # rows a cell of an inverted file is trained on, at least 39 by FAISS's own advice
A_CODE: Final = 256  # rows that a place of a product code is trained on
LINKS: Final = 32  # of HNSW
_FEW_BYTES: Final = 48 << 30  # of vectors, beyond which codes stand for them


@dataclass(frozen=True)
class Plan:
    """`kind` and FAISS's name for it, the `cells` and how many of them are searched, rows trained on, bytes it takes, and why this one."""

    kind: Kind
    factory: str
    cells: int
    probes: int
    trained_on: int
    bytes: int
    why: str


def plan(n: int, d: int, kind: Kind = "auto") -> Plan:
    """The index for n vectors of d numbers.

    `auto` never takes HNSW, which pays only where few queries are asked again and again.

    >>> plan(60_000, 128).kind, plan(1_000_000, 128).kind, plan(500_000_000, 128).kind
    ('flat', 'ivf', 'ivfpq')
    """
    if kind not in ("auto", "flat", "ivf", "ivfpq", "hnsw"):
        raise OptionError(f'An index is auto, flat, ivf, ivfpq or hnsw; got "{kind}".')
    vectors = 4 * n * d
    asked = "it was asked for"
    if kind == "flat" or (kind == "auto" and n <= FLAT):
        why = asked if kind == "flat" else f"up to {FLAT:,} rows every pair is compared: exact"
        return Plan("flat", "Flat", 0, 0, 0, vectors, why)
    if kind == "hnsw":
        return Plan("hnsw", f"HNSW{LINKS}", 0, 0, 0, n * (4 * d + 8 * LINKS), asked)
    cells = min(4 * int(n**0.5), max(1, n // A_CELL))
    probes = min(cells, max(8, cells // 32))
    if kind == "ivf" or (kind == "auto" and vectors <= _FEW_BYTES):
        why = asked if kind == "ivf" else f"beyond {FLAT:,} rows {probes} of {cells:,} cells are searched"
        return Plan("ivf", f"IVF{cells},Flat", cells, probes, A_CELL * cells, vectors + 8 * n, why)
    places = next(m for m in (64, 48, 32, 16, 8, 4, 2, 1) if d % m == 0)
    why = asked if kind == "ivfpq" else f"the vectors take {vectors / 1e9:,.0f} GB, so codes of {places} bytes are searched"
    trained = min(n, max(A_CELL * cells, A_CODE * 256))
    return Plan("ivfpq", f"IVF{cells},PQ{places}", cells, probes, trained, n * (places + 8), why)


class Index:
    """Vectors that can be searched by inner product or by Euclidean distance. Equal vectors and plans give equal answers."""

    def __init__(self, index: Any, chosen: Plan, by_product: bool) -> None:
        self.plan, self.by_product, self._index = chosen, by_product, index

    @classmethod
    def build(cls, vectors: Vectors, chosen: Plan, *, by_product: bool) -> "Index":
        """Trained on a keyed sample of the rows, never a stride: data often come in an order that repeats."""
        import faiss

        metric = faiss.METRIC_INNER_PRODUCT if by_product else faiss.METRIC_L2
        index: Any = faiss.index_factory(vectors.shape[1], chosen.factory, metric)
        if chosen.cells:
            index.cp.seed = 0
            index.nprobe = chosen.probes
            luck = KeyedRandom(0, "index").uniform(np.arange(len(vectors)))
            index.train(vectors[np.sort(np.argsort(luck)[: chosen.trained_on])])
        threads = faiss.omp_get_max_threads()
        if chosen.kind == "hnsw":
            faiss.omp_set_num_threads(1)  # links depend on who comes first
        try:
            index.add(vectors)
        finally:
            faiss.omp_set_num_threads(threads)
        return cls(index, chosen, by_product)

    def search(self, queries: Vectors, k: int) -> tuple[Rows, Vectors]:
        """The k best rows of each query, (q, k), and products or squared distances, in no promised order.

        A query that finds fewer than k in its cells has all cells searched; -1 is left only where there are fewer rows.
        """
        if self.plan.kind == "hnsw":
            self._index.hnsw.efSearch = max(64, 2 * k)
        values, rows = self._index.search(queries, k)
        short = np.flatnonzero((rows < 0).any(axis=1))
        if len(short) and self.plan.cells:
            self._index.nprobe = self.plan.cells
            values[short], rows[short] = self._index.search(queries[short], k)
            self._index.nprobe = self.plan.probes
        return rows.astype(np.int64), values

    def save(self, path: Path) -> None:
        """Whole or not at all; beside it a note of how it was built."""
        import faiss

        write_whole(path, lambda temporary: faiss.write_index(self._index, str(temporary)))

    @classmethod
    def open(cls, path: Path, chosen: Plan, *, by_product: bool) -> "Index | None":
        """The index in a file, or None where there is none, or a damaged one: it can be built anew."""
        import faiss

        if not path.is_file():
            return None
        try:
            index: Any = faiss.read_index(str(path))
        except RuntimeError:  # FAISS's word for a file that was cut short
            return None
        if chosen.cells:
            index.nprobe = chosen.probes
        return cls(index, chosen, by_product)


def signature(chosen: Plan, by_product: bool) -> str:
    """What, besides the vectors, an index depends on: for the name of its file."""
    import faiss

    return f"{sorted(asdict(chosen).items())} {by_product} {faiss.__version__}"
