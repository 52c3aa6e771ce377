"""`curate embed`: one vector a row, in resumable Arrow shards."""

import time
from pathlib import Path
from typing import Any, Final, Literal, get_args

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from curate.data import Dataset
from curate.embeddings import EMBEDDINGS, Embeddings
from curate.errors import DoesNotFitError, OptionError, OtherJobError, TooManyFailuresError, did_you_mean
from curate.loading import load
from curate.progress import Progress, Silent
from curate.scores import describe_dataset
from curate.store import Store, as_arrow, default_shard_rows, differences, shard_name, shard_ranges, writing

FITTED: Final = "fitted"
WEIGHTS: Final = "encoder.safetensors"
Precision = Literal["float32", "float16"]


def embed(
    data: Any,
    *,
    out: str | Path,
    encoder: str | None = None,
    dimensions: int | None = None,
    dtype: str = "float32",
    seed: int = 0,
    device: str = "auto",
    max_failures: float = 0.01,
    shard_rows: int | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Embeddings:
    """Embeds every row of `data` (whatever `curate.load` takes) and returns the store in `out`, opened.

    `encoder` is a name of `curate list encoders`, by default the one of the modality; `dimensions` how many numbers a vector has at most
    (128 unless told; the encoders that read a model have its own); `device` is where a model runs. A row that cannot be embedded (broken
    image, empty text, NaN) has NaN throughout and a status. float16 halves the disk and ends at 65504. The same call after a kill goes
    on where it stopped, with the same bytes. Memory: a shard's inputs and vectors; axes are fitted on 20,000 rows. OptionError or
    ColumnError before any work, OtherJobError where `out` holds another job.
    """
    from curate.signals.encoders import default_encoder, find_encoder

    progress = progress or Silent()
    data = load(data)
    spec = encoder or default_encoder(data)
    found = find_encoder(spec, data, dimensions, device)
    if dtype not in get_args(Precision):
        raise OptionError(f'dtype must be float32 or float16; got "{dtype}".{did_you_mean(dtype, get_args(Precision))}')
    if shard_rows is not None and shard_rows < 1:
        raise OptionError(f"shard_rows must be 1 or more, got {shard_rows}.")
    if not 0 <= max_failures <= 1:
        raise OptionError(f"max_failures is a share of the rows, 0 … 1; got {max_failures}.")
    job = {"encoder": found.name, "dimensions": found.dimensions, "dtype": dtype, "seed": seed}
    with writing(out, overwrite=overwrite) as folder:
        store = _open(folder, data, job, shard_rows)
        store.drop_damaged()
        fitted = _fitted(store, found, data, seed)
        ranges = shard_ranges(len(data), int(store.settled["shard_rows"]))
        done = {entry.file for entry in store.files(EMBEDDINGS)}
        with progress.task(f"embed ({found.name})", len(data)) as task:
            for index, (first, stop) in enumerate(ranges):
                if shard_name(index) not in done:
                    _write(store, shard_name(index), found, data, first, stop, fitted, dtype)
                task.advance(stop - first)
    made = Embeddings.open(out)
    failed = sum(made.failed.values())
    if failed > max_failures * len(data):
        raise TooManyFailuresError(
            f"{failed:,} of {len(data):,} rows could not be embedded ({', '.join(f'{n:,} {why}' for why, n in made.failed.items())}), more "
            f"than the {max_failures:.1%} that --max-failures allows. What could be is saved: mend or drop these rows, or allow more."
        )
    return made


def encode_like(embeddings: Embeddings, data: Dataset, encoder: str | None = None, device: str = "auto") -> NDArray[np.float32]:
    """The vectors of another dataset in the space of a store, (n, d), NaN where there is none; `encoder` as it was given to `embed`."""
    from curate.signals.encoders import default_encoder, find_encoder, weights_of

    found = find_encoder(encoder or default_encoder(data), data, None, device)
    file = embeddings.path / FITTED / WEIGHTS
    vectors, failed = found.encode(data, 0, len(data), weights_of(file) if file.is_file() else {})
    vectors = np.array(vectors, np.float32)  # a set that is vectors gives its own
    vectors[list(failed)] = np.nan
    return vectors


def _open(folder: Path, data: Dataset, job: dict[str, Any], shard_rows: int | None) -> Store:
    described = describe_dataset(data)
    if not (folder / "manifest.json").is_file():
        settled = {"shard_rows": shard_rows or default_shard_rows(len(data))}
        return Store.create(folder, EMBEDDINGS, dataset=described, job=job, settled=settled)
    store = Store.open(folder)
    if store.kind != EMBEDDINGS or store.dataset["fingerprint"] != data.fingerprint:
        raise OtherJobError(f'"{folder}" holds {store.kind} of another dataset or kind. Use another --out, or --overwrite.')
    if list(store.dataset["inputs"]) != list(described["inputs"]):
        there, here = (", ".join(about["inputs"]) for about in (store.dataset, described))
        raise OtherJobError(f'"{folder}" holds embeddings of {there}, here the input is {here}. Use another --out, or --overwrite.')
    if shard_rows not in (None, store.settled["shard_rows"]):
        raise OtherJobError(f'"{folder}" has shards of {store.settled["shard_rows"]} rows, not {shard_rows}. Leave --shard-rows out.')
    if store.job != job:
        raise OtherJobError(f'"{folder}" holds other embeddings ({differences(store.job, job)}). Use another --out, or --overwrite.')
    return store


def _fitted(store: Store, encoder: Any, data: Dataset, seed: int) -> Any:
    """What the encoder took from the whole dataset; made once, and kept with the vectors."""
    from safetensors.numpy import save_file

    from curate.signals.encoders import weights_of

    for table in (FITTED, EMBEDDINGS):
        store.describe(table, {})
    if not store.files(FITTED):
        started, cpu = time.perf_counter(), time.process_time()
        made = encoder.fit(data, seed)
        if not made:
            return made
        store.add_file(FITTED, WEIGHTS, lambda path: save_file(made, str(path)))
        store.log("fit", wall=time.perf_counter() - started, cpu=time.process_time() - cpu)
    return weights_of(store.path / FITTED / WEIGHTS)


def _write(store: Store, file: str, encoder: Any, data: Dataset, first: int, stop: int, fitted: Any, dtype: str) -> None:
    started, cpu = time.perf_counter(), time.process_time()
    vectors, failed = encoder.encode(data, first, stop, fitted)
    if dtype == "float16":
        _require_half(vectors, first)
    stored = vectors.astype(dtype)
    status = np.full(stop - first, None, object)
    for row, why in failed.items():
        stored[row - first] = np.nan
        status[row - first] = why
    table = pa.table({"row": np.arange(first, stop), "embedding": as_arrow(stored), "status": pa.array(status, pa.string())})
    counts: dict[str, int] = {}
    for why in failed.values():
        counts[why] = counts.get(why, 0) + 1
    store.add_shard(EMBEDDINGS, file, table, first=first, failed=counts)
    store.log("embed", wall=time.perf_counter() - started, cpu=time.process_time() - cpu)


def _require_half(vectors: NDArray[Any], first: int) -> None:
    """DoesNotFitError where numbers lie beyond float16, or all of a row's below its smallest, so that it would become zeros."""
    half, sizes = np.finfo(np.float16), np.abs(np.nan_to_num(vectors, posinf=0, neginf=0)).max(axis=1, initial=0)
    lost = (sizes > 0) & (sizes <= float(half.smallest_subnormal) / 2)
    for odd, where in ((sizes > half.max, "beyond 65504, where float16 ends"), (lost, "too small for float16")):
        if odd.any():
            row = int(odd.argmax())
            raise DoesNotFitError(
                f"Row {first + row} has numbers {where}: the largest is {sizes[row]:.3g}. Use --dtype float32 and another --out."
            )
