"""The FAISS index for a size: flat, an inverted file, one of product codes, or HNSW; why; and its file, which is only ever a cache."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from curate.disk import is_whole, write_summed
from curate.errors import OptionError
from curate.index.vectors import Placed, Vectors
from curate.protocols import Rows
from curate.rng import KeyedRandom

Kind = Literal["auto", "flat", "ivf", "ivfpq", "hnsw"]

FLAT: Final = 100_000  # rows up to which every pair is compared
A_CELL: Final = 64  # rows a cell of an inverted file is trained on, at least 39 by FAISS's own advice
A_CODE: Final = 256  # rows that a place of a product code is trained on
LINKS: Final = 32  # of HNSW
GPU_MOST: Final = 2048  # neighbours, and cells searched, that FAISS allows on a GPU
_BLOCK: Final = 65_536  # rows added at a time
_FEW_BYTES: Final = 8 << 30  # of vectors, beyond which codes stand for them


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
    # "np": without the reordering of codes for Hamming distances, which takes a minute and which we never ask for.
    return Plan("ivfpq", f"IVF{cells},PQ{places}np", cells, probes, trained, n * (places + 8), why)


def search_work(n: int, d: int, kind: Kind = "auto") -> float:
    """Products of two numbers in finding the neighbours of all rows with the index of `plan`, its training included, about."""
    chosen = plan(n, d, kind)
    if chosen.kind == "hnsw":
        return 64.0 * LINKS * n * d
    if not chosen.cells:
        return float(n) * n * d
    return chosen.cells * d * (10.0 * min(n, chosen.trained_on) + n) + float(n) * n * d * chosen.probes / chosen.cells


class Index:
    """Vectors that can be searched by Euclidean distance. Equal vectors and plans give equal answers.

    It is trained once and filled in parts: `emptied` copies of it take the shards, by anyone in any order, and either `absorb` joins them
    in order, which is the index of all rows, or `search_parts` searches them as they are.
    """

    def __init__(self, index: Any, chosen: Plan) -> None:
        self.plan, self._index = chosen, index
        self._on_gpu: Any = None

    @classmethod
    def build(cls, vectors: NDArray[Any] | Placed, chosen: Plan) -> "Index":
        """Of all rows. They may be memory-mapped, of float16 too: beside the index a block of them is in memory at a time."""
        index = cls.trained(vectors, chosen)
        index.add(vectors)
        return index

    @classmethod
    def trained(cls, vectors: NDArray[Any] | Placed, chosen: Plan) -> "Index":
        """Without rows. Trained on a keyed sample, never a stride: data often come in an order that repeats."""
        import faiss

        index: Any = faiss.index_factory(vectors.shape[1], chosen.factory, faiss.METRIC_L2)
        if chosen.cells:
            index.cp.seed = 0
            index.nprobe = chosen.probes
            luck = KeyedRandom(0, "index").uniform(np.arange(len(vectors)))
            sample = np.sort(np.argsort(luck)[: chosen.trained_on])
            index.train(np.ascontiguousarray(vectors[sample], np.float32))
        return cls(index, chosen)

    def emptied(self) -> "Index":
        """A trained index without rows, for the rows of one shard."""
        import faiss

        copy: Any = faiss.clone_index(self._index)
        copy.reset()
        return Index(copy, self.plan)

    def add(self, vectors: NDArray[Any] | Placed, first: int = 0, stop: int | None = None) -> None:
        """Rows `first` to `stop`, all unless told, behind those that are there."""
        import faiss

        threads = faiss.omp_get_max_threads()
        if self.plan.kind == "hnsw":
            faiss.omp_set_num_threads(1)  # links depend on who comes first
        try:
            last = len(vectors) if stop is None else stop
            for start in range(first, last, _BLOCK):
                self._index.add(np.ascontiguousarray(vectors[start : min(start + _BLOCK, last)], np.float32))
        finally:
            faiss.omp_set_num_threads(threads)
        self._on_gpu = None

    def absorb(self, part: "Index") -> None:
        """Takes the rows of another part behind its own; the part is empty then. Graphs of links cannot be joined."""
        if self.plan.kind == "hnsw":
            raise OptionError("Parts of an hnsw index cannot be joined; flat, ivf and ivfpq can.")
        self._index.merge_from(part._index, len(self) if self.plan.cells else 0)
        self._on_gpu = part._on_gpu = None

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def search(self, queries: Vectors, k: int) -> tuple[Rows, Vectors]:
        """The k nearest rows of each query, (q, k), and squared distances, in no promised order; on a GPU where `gpus` finds one.

        A query that finds fewer than k in its cells has all cells searched; -1 is left only where there are fewer rows.
        """
        return search_parts([self], queries, k)

    def in_cells(self, queries: Vectors, k: int, probes: int | None = None) -> tuple[Rows, Vectors]:
        """The same in the plan's cells alone, or in the `probes` nearest ones, which is done on the CPU."""
        if self.plan.kind == "hnsw":
            self._index.hnsw.efSearch = max(64, 2 * k)
        if probes is None and self._for_gpu(k):
            if self._on_gpu is None:
                self._on_gpu = to_gpu(self._index)
            values, rows = self._on_gpu.search(queries, k)
        else:
            if probes is not None:
                self._index.nprobe = probes
            values, rows = self._index.search(queries, k)
            if probes is not None:
                self._index.nprobe = self.plan.probes
        return rows.astype(np.int64), values

    def _for_gpu(self, k: int) -> bool:
        return self.plan.kind in ("flat", "ivf", "ivfpq") and max(k, self.plan.probes) <= GPU_MOST and gpus() > 0

    def save(self, path: Path) -> None:
        """Whole or not at all; beside it its checksum."""
        import faiss

        write_summed(path, lambda temporary: faiss.write_index(self._index, str(temporary)))

    @classmethod
    def open(cls, path: Path, chosen: Plan, *, mapped: bool = False) -> "Index | None":
        """The index in a file, or None where there is none, or a damaged one: it can be built anew. `mapped` leaves the rows on disk."""
        import faiss

        if not is_whole(path):
            return None
        try:
            index: Any = faiss.read_index(str(path), faiss.IO_FLAG_MMAP if mapped else 0)
        except RuntimeError:  # FAISS's word for a file that was cut short
            return None
        if chosen.cells:
            index.nprobe = chosen.probes
        return cls(index, chosen)


def search_parts(parts: Sequence[Index], queries: Vectors, k: int) -> tuple[Rows, Vectors]:
    """As `Index.search` of the parts' rows one behind the other; parts that were emptied from one index answer as one would."""
    rows, values = _best(parts, queries, k, None)
    short = np.flatnonzero((rows < 0).any(axis=1))
    if len(short) and parts[0].plan.cells:
        rows[short], values[short] = _best(parts, queries[short], k, parts[0].plan.cells)
    return rows, values


def _best(parts: Sequence[Index], queries: Vectors, k: int, probes: int | None) -> tuple[Rows, Vectors]:
    """The k best of all parts, ties to the lower row, one part's answers beside the best so far at a time."""
    rows, values = parts[0].in_cells(queries, k, probes)
    first = len(parts[0])
    for part in parts[1:]:
        more, their = part.in_cells(queries, k, probes)
        rows = np.concatenate((rows, np.where(more >= 0, more + first, -1)), axis=1)
        values = np.concatenate((values, their), axis=1)
        order = np.lexsort((rows, np.where(rows >= 0, values, np.inf)), axis=1)[:, :k]
        rows, values = np.take_along_axis(rows, order, axis=1), np.take_along_axis(values, order, axis=1)
        first += len(part)
    return rows, values


def gpus() -> int:
    """How many GPUs the installed FAISS can use; 0 for faiss-cpu."""
    import faiss

    return int(faiss.get_num_gpus()) if hasattr(faiss, "StandardGpuResources") else 0


def to_gpu(index: Any) -> Any:
    """A copy on all GPUs, its rows shared out among them."""
    import faiss

    how = faiss.GpuMultipleClonerOptions()
    how.shard = True
    return faiss.index_cpu_to_all_gpus(index, how)


def signature(chosen: Plan) -> str:
    """What, besides the vectors, a search depends on: for the name of its file."""
    try:
        import faiss
    except ImportError:
        return "numpy"
    return f"{sorted(asdict(chosen).items())} {faiss.__version__} {'gpu' if gpus() else 'cpu'}"
