"""What `curate score` is asked for: scorers by name, the sets that they read, and whether all of it goes together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from curate.data import Dataset
from curate.embeddings import Embeddings
from curate.errors import InputError, OptionError, UsageError
from curate.loading import load
from curate.model_names import reads_no_label
from curate.plugins import Plugin, options_of, parse
from curate.protocols import Identified, ReadsScores, Scorer, TargetOptional
from curate.scores import ROWS, require_same_dataset
from curate.stages import asked_signals, running, sweeping, targeting
from curate.stages.arms import with_classes
from curate.stages.asked_signals import RUN_SIGNALS
from curate.stages.parts import Part
from curate.store import Store


@dataclass(frozen=True)
class Asked:
    """A scorer that was asked for, under the name that its shards will bear."""

    name: str
    plugin: Plugin
    scorer: Scorer

    @property
    def reads_run(self) -> bool:
        return any(name.split(".")[0] in RUN_SIGNALS for name in self.scorer.requires)

    @property
    def reads_embeddings(self) -> bool:
        return any(name == "embedding" or name.startswith(asked_signals.NEIGHBOURS) for name in self.scorer.requires)

    @property
    def reads_target(self) -> bool:
        return any(name.startswith(asked_signals.TARGET) for name in self.scorer.requires)

    @property
    def reads_target_labels(self) -> bool:
        """Whether the target's labels are the data's own classes: a model of these sees its rows, or both labels are asked for."""
        names = self.scorer.requires
        return {"label", "target.label"} <= set(names) or any(name.startswith(sweeping.OF_TARGET) for name in names)


def ask(scorers: str | Scorer | Sequence[str | Scorer]) -> list[Asked]:
    """The scorers that are meant, built; one alone need not be in a list."""
    scorers = scorers if isinstance(scorers, Sequence) and not isinstance(scorers, str) else [scorers]
    if not scorers:
        raise UsageError("No scorer is asked for. Name one or more: --scorer aum --scorer el2n. `curate list scorers` shows them.")
    asked = []
    for one in scorers:
        plugin = parse("scorers", one) if isinstance(one, str) else Plugin.of("scorers", one)
        asked.append(Asked(plugin.name, plugin, plugin.build()))
    names = [one.name for one in asked]
    for name, method in zip(names, (one.plugin.method for one in asked), strict=True):
        if names.count(name) > 1:
            raise UsageError(f'Scorer "{name}" is asked for {names.count(name)} times. Give one another name: --scorer OTHER={name}:…')
        if name in (ROWS, "runs"):
            raise UsageError(
                f'A score cannot be called "{name}", which the store uses itself. Give it another name: --scorer OTHER={method}'
            )
    return asked


@dataclass(frozen=True)
class Given:
    """What `score` and its plan are called with, read and found to go together."""

    data: Dataset
    asked: list[Asked]
    target: Dataset | None
    embeddings: Embeddings | None
    target_embeddings: Embeddings | None
    part: Part | None


def bring(
    data: Any,
    scorers: Sequence[str | Scorer],
    *,
    run: str | Path | None,
    embeddings: Embeddings | str | Path | None,
    target: Any,
    target_embeddings: Embeddings | str | Path | None = None,
    max_failures: float,
    counts: Mapping[str, int | None],
    model: str | None,
    shard: str | None,
) -> Given:
    """Opens what the arguments name; raises for everything that can be known to be wrong before the first row is read."""
    data, target = load(data), None if target is None else load(target)
    asked, vectors = ask(scorers), Embeddings.of(embeddings, data)
    if target is None:
        asked = [replace(one, scorer=one.scorer.without_target()) if isinstance(one.scorer, TargetOptional) else one for one in asked]
    elif any(one.reads_target_labels for one in asked):
        target = with_classes(load(target, input=list(target.inputs), label=data.label), data, "target")
    _check(data, asked, run, target, vectors, max_failures, counts, model)
    theirs = targeting.checked(target_embeddings, target, vectors)
    return Given(data, asked, target, vectors, theirs, None if shard is None else Part.parse(shard))


def _check(
    data: Dataset,
    asked: Sequence[Asked],
    run: str | Path | None,
    target: Dataset | None,
    embeddings: Embeddings | None,
    max_failures: float,
    counts: Mapping[str, int | None],
    model: str | None,
) -> None:
    if not 0 <= max_failures <= 1:
        raise OptionError(f"max_failures is a share of the rows, 0 … 1; got {max_failures}.")
    for name, count in counts.items():
        if count is not None and count < 1:
            raise OptionError(f"{name} must be 1 or more, got {count}.")
    for one in asked:
        if isinstance(one.scorer, ReadsScores) and one.scorer.scores_read is not None:
            require_same_dataset(Store.open(one.scorer.scores_read), data)
        asked_signals.require_known_signals(one.name, one.scorer.requires, data, target, has_embeddings=embeddings is not None)
        if one.reads_run:
            if len(data) < 2:
                raise InputError(f'"{data.source}" has {len(data)} row; "{one.name}" trains a model and needs two or more.')
            if run is None and not reads_no_label(model):
                running.require_labels(data, one.name)
    if embeddings is not None and not any(one.reads_embeddings for one in asked):
        names = ", ".join(one.name for one in asked)
        raise UsageError(f"None of the scorers ({names}) reads where rows lie, so --embeddings has no use here. Leave it out.")
    if target is not None and not any(one.reads_target for one in asked):
        names = ", ".join(one.name for one in asked)
        raise UsageError(f"None of the scorers ({names}) compares rows with a target set, so --target has no use here. Leave it out.")


def describe_scorer(one: Asked, seeds: Sequence[int]) -> dict[str, Any]:
    """What the manifest says of a score: enough to make it again and to know whether it still holds."""
    scorer = one.scorer
    known = dict(scorer.identity()) if isinstance(scorer, Identified) else {}
    options = {name: value for name, value in (options_of(scorer) | known).items() if known.get(name, "") is not None}
    about = {
        "method": one.plugin.method,
        "options": {name: list(v) if isinstance(v, tuple) else v for name, v in options.items()},
        "version": scorer.version,
        "hard_sign": scorer.hard_sign,
        "keep": scorer.keep,
        "combine": scorer.combine,
        "requires": list(scorer.requires),
        "seeds": list(seeds),
    }
    return about | ({"source": one.plugin.source_hash} if one.plugin.source_hash else {})
