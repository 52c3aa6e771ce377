"""`curate score`: one training run, every scorer that reads it, Arrow shards in a store."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from curate.embeddings import Embeddings
from curate.errors import UsageError
from curate.locks import locked
from curate.progress import Progress, Silent
from curate.protocols import Opens, Pays, Scorer, Weighs
from curate.scores import Scores
from curate.stages import asked_signals, engines, estimates, machine, running
from curate.stages.asking import bring
from curate.stages.room import require_memory, require_room
from curate.stages.running import RunOptions
from curate.stages.score_job import Job
from curate.store import Store, default_shard_rows, refuse_foreign, writing

OPENING = 60.0  # seconds that a part waits for others to have opened the store


def score(
    data: Any,
    scorers: Sequence[str | Scorer],
    *,
    out: str | Path,
    seed: int = 0,
    seeds: int | None = None,
    run: str | Path | None = None,
    embeddings: Embeddings | str | Path | None = None,
    target: Any = None,
    target_embeddings: Embeddings | str | Path | None = None,
    from_store: str | Path | None = None,
    max_failures: float = 0.01,
    max_requests: int | None = None,
    shard_rows: int | None = None,
    workers: int = 1,
    engine: str = "local",
    ray_address: str | None = None,
    worker_gpus: float = 0.0,
    shard: str | None = None,
    device: str = "auto",
    overwrite: bool = False,
    progress: Progress | None = None,
    **options: Any,
) -> Scores:
    """Scores every row of `data` (whatever `curate.load` takes) with every scorer and returns the store in `out`, opened.

    `scorers` are `[AS=]NAME[:option=value,…]`, `FILE.py:Class`, or instances. Those that read a training run share one run a
    seed, trained as `options` say (`model`, `epochs`, `batch_size`, `optimizer`, `lr`, `schedule`, `augment`, `precision`, …: the
    fields of `RunOptions`), taken from `run`, or already in the store. Scorers that are there already, made the same way, cost nothing.
    The same call after a kill goes on where it stopped. `target`, whatever `curate.load` takes, is the set that scorers such as
    `dsir` and `contamination` compare the rows with. `embeddings`, a store that `curate.embed` made, tells the scorers that ask where
    rows lie and who lies near; the graph of neighbours is made once and kept in that store. `from_store` takes row-local scores over
    for every row whose content is unchanged.

    Shards are scored in this process, in `workers` of this machine, or with `engine="ray"` in as many actors of a Ray cluster, of
    which each takes `worker_gpus` GPUs. `shard="I/N"` does the I-th of N parts of the shards, for N processes that know nothing of each
    other; the same call without it joins the parts and does what is missing. The result is the same whichever it was.

    Raises OptionError and ColumnError before any work, OtherJobError where `out` holds another job, TooManyFailuresError where more
    than a share `max_failures` of the rows cannot be scored.
    """
    progress = progress or Silent()
    folder = Path(out)
    counts = {"workers": workers, "seeds": seeds, "shard_rows": shard_rows}
    given = bring(
        data,
        scorers,
        run=run,
        embeddings=embeddings,
        target=target,
        target_embeddings=target_embeddings,
        max_failures=max_failures,
        counts=counts,
        model=options.get("model"),
        shard=shard,
    )
    data, asked, part = given.data, given.asked, given.part
    if part is not None and overwrite:
        raise UsageError("--shard adds to what other processes write, so it does not go with --overwrite. Empty the folder first.")
    refuse_foreign(folder)
    with engines.engine(engine, workers, ray_address, worker_gpus, progress) as runner:

        def opened() -> Job:
            job = Job(data, folder, asked, given.target, seed, seeds, run, RunOptions.of(options), device, shard_rows, progress)
            job.max_failures, job.engine, job.embeddings = max_failures, runner, given.embeddings
            job.max_requests, job.target_embeddings = max_requests, given.target_embeddings
            job.borrow(from_store)
            return job

        if part is None:
            with writing(folder, overwrite=overwrite):
                opened().do()
        else:
            with locked(folder, wait=OPENING):
                job = opened()
                job.announce()
            job.do_part(part)
    return Scores.open(folder)


def plan(
    data: Any,
    scorers: Sequence[str | Scorer],
    *,
    out: str | Path,
    seed: int = 0,
    seeds: int | None = None,
    run: str | Path | None = None,
    embeddings: Embeddings | str | Path | None = None,
    target: Any = None,
    target_embeddings: Embeddings | str | Path | None = None,
    from_store: str | Path | None = None,
    max_failures: float = 0.01,
    max_requests: int | None = None,
    shard_rows: int | None = None,
    workers: int = 1,
    engine: str = "local",
    ray_address: str | None = None,
    worker_gpus: float = 0.0,
    shard: str | None = None,
    device: str = "auto",
    overwrite: bool = False,
    **options: Any,
) -> dict[str, Any]:
    """What `score` with the same arguments would do, with estimates of its seconds, memory and disk in bytes; writes nothing.

    The time comes from a few real training steps on the first rows. DoesNotFitError where disk or memory would not do.
    """
    counts = {"workers": workers, "seeds": seeds, "shard_rows": shard_rows}
    given = bring(
        data,
        scorers,
        run=run,
        embeddings=embeddings,
        target=target,
        target_embeddings=target_embeddings,
        max_failures=max_failures,
        counts=counts,
        model=options.get("model"),
        shard=shard,
    )
    data, asked, part = given.data, given.asked, given.part
    engines.check(engine, ray_address, worker_gpus)
    trains = any(one.reads_run for one in asked) and run is None
    known = None if overwrite or not (Path(out) / "manifest.json").is_file() else Store.open(out).job["run"]
    every = [seed + i for i in range(seeds or 1)]
    planned: dict[str, Any] = {"rows": len(data), "modality": data.modality, "label": data.label, "scorers": [one.name for one in asked]}
    planned |= {"engine": engine, "workers": workers, "part": part and part.name}
    planned |= {"model": None, "epochs": None, "seeds": every, "device": device, "shard_rows": shard_rows or default_shard_rows(len(data))}
    cost = {"seconds": len(asked) * len(data) * 1e-6, "memory": 100.0 * len(data), "disk": len(asked) * 24.0 * len(data)}
    if trains:
        device = machine.settle(device)["device"]
        proxy, recipe = running.plan_recipe(RunOptions.of(options), data, known)
        for one in asked:
            running.require_told_by_a_loss(proxy, one.scorer.settle(recipe.epochs).requires)
        planned |= {"model": proxy.name, "epochs": recipe.epochs, "device": device}
        extra = estimates.training_cost(data, proxy, recipe, device, every)
        cost = {name: value + extra[name] for name, value in cost.items()}
    if engine == "local" and any(isinstance(one.scorer, Weighs) for one in asked):
        cost["memory"] += estimates.models_fit(asked, machine.settle(device)["device"], workers)
    for one in asked:
        if isinstance(one.scorer, Pays) and one.scorer.server is not None:
            requests, tokens = estimates.requests_of(one.scorer, [(data, 0, len(data))])
            planned["requests"] = planned.get("requests", 0) + requests
            planned["request_tokens"] = planned.get("request_tokens", 0) + tokens
        elif isinstance(one.scorer, Opens) and asked_signals.is_row_local(one.scorer) and not one.reads_embeddings:
            planned["device"] = machine.settle(device)["device"]
            cost["seconds"] += estimates.scoring_seconds(data, one.scorer, planned["device"])
    require_room(Path(out), cost["disk"])
    require_memory(cost["memory"])
    return planned | cost
