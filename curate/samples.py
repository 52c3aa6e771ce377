"""The data sets that come with the package, for demonstrations and tests without a network: `sample:digits` and its like."""

from importlib import resources
from typing import TYPE_CHECKING

import pyarrow as pa

from curate.errors import UnknownNameError, did_you_mean
from curate.sample_names import NAMES

if TYPE_CHECKING:
    import datasets


def load_sample(name: str) -> "dict[str, datasets.Dataset]":
    """The splits "train" and "test" of a bundled sample; UnknownNameError with a did-you-mean for any other name."""
    if name not in NAMES:
        raise UnknownNameError(
            f'No sample named "{name}".{did_you_mean(name, NAMES)} There are: {", ".join(f"sample:{known}" for known in NAMES)}.'
        )
    return {split: _bundled(name, split) for split in ("train", "test")}


def _bundled(name: str, split: str) -> "datasets.Dataset":
    import datasets
    import pyarrow.parquet as pq

    content = resources.files("curate").joinpath("bundled", name, f"{split}.parquet").read_bytes()
    return datasets.Dataset(pq.read_table(pa.BufferReader(content)))
