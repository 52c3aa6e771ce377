"""The signals that scorers ask for by name: which there are, and whether this data has them, found out before any work."""

from collections.abc import Iterable
from typing import Final

from curate.data import Dataset
from curate.errors import ColumnError, UsageError
from curate.protocols import Scorer

RUN_SIGNALS: Final = ("dynamics", "eval", "probs", "swept")
ROW_SIGNALS: Final = ("text", "question", "answer", "embedding")
NEIGHBOURS: Final = "neighbours"
CONTENT: Final = "content"
SETS: Final = "label_sets"
TARGET: Final = "target."
SWEPT: Final = "swept."


def require_known_signals(
    name: str, requires: Iterable[str], data: Dataset, target: Dataset | None = None, *, has_embeddings: bool = False
) -> None:
    """UsageError or ColumnError before any work where a scorer asks for what this data or this version does not have."""
    for signal in requires:
        kind = signal.removeprefix(TARGET).split(".")[0].split("@")[0]
        shared = (*ROW_SIGNALS, CONTENT, "label")
        known = (*shared, "swept") if signal.startswith(TARGET) else (*RUN_SIGNALS, *shared, NEIGHBOURS, SETS)
        if kind not in known:
            raise UsageError(
                f'Scorer "{name}" requires "{signal}", which nothing provides. '
                "There are: dynamics.*, eval.*, probs.final, swept.*, label, label_sets, content, text, question, answer, embedding, "
                "neighbours@K, neighbours.label@K, neighbours.distance@K, target.label, target.content, target.text, target.embedding, "
                "target.swept.*."
            )
        if kind == SETS and not data.has_label_sets:
            raise ColumnError(
                f'Scorer "{name}" reads several labels a row, and "{data.source}" has {"one" if data.label else "none"}. '
                "Name a column of lists with --label COLUMN, or take `confident` where there is one."
            )
        if kind == NEIGHBOURS or (signal == "embedding" and data.modality not in ("embedding", "table")):
            _require_embeddings(name, data, has_embeddings)
        elif not signal.startswith(TARGET):
            _require_modality(name, kind, data, "--input")
        elif target is None:
            raise UsageError(f'Scorer "{name}" compares rows with a target set, and none is named. Name one: --target DATA (target=…).')
        elif kind == "label" and target.label is None:
            raise ColumnError(f'Scorer "{name}" reads labels of the target, and "{target.source}" has none. Name them: --target-label C.')
        elif not (kind == "embedding" and has_embeddings):
            _require_modality(name, kind, target, "--target-input")


def _require_embeddings(name: str, data: Dataset, has_embeddings: bool) -> None:
    if not has_embeddings:
        raise UsageError(
            f'Scorer "{name}" reads where the rows of "{data.source}" lie. '
            "Embed them first: `curate embed DATA --out embeddings`, then add --embeddings embeddings."
        )


def _require_modality(name: str, kind: str, data: Dataset, option: str) -> None:
    if kind == "text" and data.modality not in ("text", "text_pair", "chat"):
        raise ColumnError(f'Scorer "{name}" reads text, but "{data.source}" is {data.modality} data. Name a text column with {option}.')
    if kind in ("question", "answer") and data.modality not in ("text_pair", "chat"):
        raise ColumnError(
            f'Scorer "{name}" reads questions and answers, but "{data.source}" is {data.modality} data. '
            f"Name two text columns with {option} QUESTION,ANSWER, or one of conversations."
        )
    if kind == "embedding" and data.modality not in ("embedding", "table"):
        raise ColumnError(
            f'Scorer "{name}" reads embeddings, but "{data.source}" is {data.modality} data. Name a vector column with {option}.'
        )


def neighbours_read(requires: Iterable[str]) -> int:
    """How many neighbours a scorer asks for, 0 where it asks for none."""
    return max((int(name.partition("@")[2]) for name in requires if name.startswith(NEIGHBOURS)), default=0)


def is_row_local(scorer: Scorer) -> bool:
    """Whether a row's score depends on that row's content (and the target's) alone, so that it holds wherever the row turns up."""
    own = [name for name in scorer.requires if not name.startswith(TARGET)]
    return bool(own) and scorer.passes == 0 and all(name in ROW_SIGNALS for name in own)
