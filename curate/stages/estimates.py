"""What a job is going to cost, told before it starts: requests to a server, seconds, memory and disk."""

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from curate.data import Dataset
from curate.errors import DoesNotFitError, OptionError
from curate.progress import Progress
from curate.protocols import Opens, Pays, ReadsTarget, Scorer, Shard, Weighs
from curate.stages import asked_signals, machine, shards
from curate.stages.asking import Asked
from curate.stages.room import memory_of
from curate.stages.shards import ShardTask

if TYPE_CHECKING:
    import torch

    from curate.signals.inputs import Inputs
    from curate.signals.proxies import Proxy
    from curate.signals.training import Recipe

STEP = 4096  # rows of which the texts are held at a time
TIMED = 48  # rows that stand for all, spread over the data so that long and short ones are among them


def announce_requests(name: str, scorer: Scorer, tasks: Sequence[ShardTask], progress: Progress) -> None:
    """Says how many requests are going to be sent, at most; OptionError where that is more than was allowed, before the first is."""
    assert isinstance(scorer, Pays), "only such scorers are asked"
    tasks[0].path.parent.mkdir(parents=True, exist_ok=True)
    scorer.answers_in(tasks[0].path.parent / shards.ANSWERS, tasks[0].max_requests)
    requests, tokens = requests_of(scorer, ((task.data, task.first, task.stop) for task in tasks))
    limit = tasks[0].max_requests
    if limit is not None and requests > limit:
        raise OptionError(
            f"{name} needs {requests:,} requests (about {tokens:,} tokens) to {scorer.server}, --max-requests allows {limit:,}. "
            "Allow more, or score fewer rows with --limit."
        )
    progress.note(
        f"{name}: {requests:,} requests to {scorer.server}, about {tokens:,} tokens; answers that are there already are not asked again."
    )


def requests_of(scorer: Pays, ranges: "Sequence[tuple[Dataset, int, int]] | Iterator[tuple[Dataset, int, int]]") -> tuple[int, int]:
    """Requests and tokens that the texts of these row ranges would need."""
    requests = tokens = 0
    for data, first, stop in ranges:
        for start in range(first, stop, STEP):
            more = scorer.requests_for([text or "" for text in data.texts(start, min(start + STEP, stop))])
            requests, tokens = requests + more[0], tokens + more[1]
    return requests, tokens


def models_fit(asked: Sequence[Asked], device: str, workers: int = 1) -> int:
    """Bytes that the largest model to be opened takes, one in each worker; DoesNotFitError where they have no room on the device."""
    most = 0
    for one in asked:
        if isinstance(one.scorer, Weighs):
            need, there = one.scorer.weight(device) * max(workers, 1), memory_of(device)
            if there is not None and need > there:
                raise DoesNotFitError(
                    f"{one.name}: its model needs about {need / 1e9:,.1f} GB"
                    + (f" in {workers} workers" if workers > 1 else "")
                    + f", {device} has {there / 1e9:,.1f} GB. Take a smaller model or batch_tokens, precision=bfloat16, or a server."
                )
            most = max(most, need)
    return most


def scoring_seconds(data: Dataset, scorer: Scorer, device: str) -> float:
    """Seconds that a scorer which reads nothing but the rows will take, from timing it on some of them."""
    assert isinstance(scorer, Opens), "only such scorers are timed"
    rows = np.unique(np.linspace(0, len(data) - 1, TIMED).astype(np.int64))
    few = data.select(rows)
    columns: dict[str, Any] = {name: shards.of_data(few, name.removeprefix(asked_signals.TARGET), 0, len(few)) for name in scorer.requires}
    shard = Shard(rows, columns)
    scorer.open(device)
    try:
        told = scorer.merge_target([scorer.fit_target(shard)]) if isinstance(scorer, ReadsTarget) else {}  # of the rows themselves
        started = time.perf_counter()
        scorer.score(shard, {f"{asked_signals.TARGET}{key}": value for key, value in told.items()} or None)
        return (time.perf_counter() - started) / len(rows) * len(data)
    finally:
        scorer.close()


def training_cost(data: Dataset, proxy: "Proxy", recipe: "Recipe", device: str, seeds: Sequence[int]) -> dict[str, float]:
    """Seconds, memory and disk that the runs will take, from timing a few steps on the first rows."""
    import torch

    from curate.progress import Silent
    from curate.signals.training import seeded

    few = data.select(np.arange(min(len(data), 4 * recipe.batch_size), dtype=np.int64))
    inputs = proxy.prepare(few, torch.device(device), Silent(), image_size=recipe.image_size, augment=recipe.augment)
    classes = 0 if proxy.loss_only else max(2, len(data.label_names))
    model = seeded(lambda: proxy.build(inputs.shape, classes), 0).to(device)
    with machine.as_started({"device": device, "threads": machine.choose_threads(data, proxy, recipe)}):
        seconds = _time_steps(model, inputs, len(few), recipe.batch_size, device)
    weights = sum(t.numel() * t.element_size() for t in model.state_dict().values())
    per_row = float(np.prod(inputs.shape)) if data.modality == "image" else 4.0 * inputs.shape[0] if len(inputs.shape) == 1 else 400.0
    n = len(data)
    kept = {"all": recipe.epochs, "last": 1, "none": 0}[recipe.checkpoints]
    return {
        "seconds": seconds * n * recipe.epochs * len(seeds),
        "memory": n * (min(per_row, 4096) + 48 + 4 * classes) + 12 * weights,
        "disk": len(seeds) * (n * 36 * recipe.epochs + kept * weights + 4 * weights),
    }


def _time_steps(model: "torch.nn.Module", inputs: "Inputs", n: int, batch: int, device: str) -> float:
    import torch

    usable = torch.tensor([row for row in range(n) if row not in inputs.failed], device=device)
    if not len(usable):
        return 0.0
    model.train(len(usable) > 1)
    times = []
    for rows in torch.split(usable, batch)[:4] * 2:
        started = time.perf_counter()
        model(*inputs.batch(rows)).float().sum().backward()
        times.append((time.perf_counter() - started) / len(rows))
    return float(np.median(times)) * 1.4  # the optimiser, the augmentation and the recorder
