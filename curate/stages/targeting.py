"""Where the rows of a `--target` set lie among the embedded rows of the source."""

from pathlib import Path
from typing import Any, Final

from numpy.typing import NDArray

from curate.data import Dataset
from curate.embeddings import Embeddings
from curate.encoder_names import ENCODERS
from curate.errors import OptionError, UsageError
from curate.stages.embedding import FITTED, encode_like

PLAIN: Final = ("embedding", "table")  # data that are vectors by themselves


def checked(named: Embeddings | str | Path | None, target: Dataset | None, embeddings: Embeddings | None) -> Embeddings | None:
    """The vectors that were named for the target, opened; raises where they are of other rows or not in the space of the source's."""
    if named is None:
        return None
    if target is None or embeddings is None:
        raise UsageError("--target-embeddings goes with --target DATA and --embeddings DIR, whose space it is in. Name both.")
    opened = Embeddings.of(named, target)
    assert opened is not None, "something was named"
    ours, theirs = (str(one.store.job["encoder"]) for one in (embeddings, opened))
    if ours != theirs:
        raise OptionError(f'The rows are embedded with "{ours}", the target with "{theirs}". Embed both with one encoder.')
    if opened.store.files(FITTED):
        raise OptionError(
            f'Encoder "{theirs}" takes its axes from the set that it embeds, so "{opened.path}" lies in a space of its own. '
            "Leave --target-embeddings out: the target is then embedded as the rows were."
        )
    return opened


def vectors(target: Dataset, embeddings: Embeddings | None, named: Embeddings | None, device: str) -> NDArray[Any] | None:
    """The target's vectors, (m, d), NaN where there is none; None where its rows are vectors of the right width by themselves."""
    if named is not None:
        return named.matrix
    if embeddings is None or (target.modality in PLAIN and embeddings.store.job["encoder"] != "column"):
        return None
    encoder = str(embeddings.store.job["encoder"])
    if encoder.partition(":")[0] not in ENCODERS or "#" in encoder or encoder.startswith("run:"):
        raise UsageError(
            f'The rows were embedded with "{encoder}", whose place a store does not know. Embed the target with the same --encoder: '
            "`curate embed TARGET --encoder … --out DIR`, then add --target-embeddings DIR."
        )
    return encode_like(embeddings, target, encoder, device)
