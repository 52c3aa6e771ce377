"""`curate distill`: a compact synthetic set by any distiller, what it is worth beside real rows, and the hub-ready folder."""

import json
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curate import png
from curate.compensated import COMPENSATED
from curate.data import Dataset
from curate.errors import DoesNotFitError, InputError, OptionError, OtherJobError, UnknownNameError, did_you_mean
from curate.image_tables import table_of
from curate.loading import load
from curate.plugins import Plugin, options_of, parse, part
from curate.progress import Progress, Silent
from curate.protocols import Distilled, Distiller, Identified
from curate.rng import KeyedRandom
from curate.scores import describe_dataset
from curate.stages import machine, running
from curate.stages.arms import Held, excluded_rows, held_rows
from curate.stages.room import require_memory
from curate.stages.worth import initial_seeds, worth_of
from curate.store import Store, differences, writing
from curate.synthetic import CARD, DATA, EVALUATION, FILE, GRID, HERE, HISTORY, KIND, TRANSFORM, Synthetic, stored

RUNS: Final = "runs"
TILE: Final = 48  # pixels of a picture in the grid, at least
COLUMNS: Final = 10
UNMET: Final = "which the distiller did not see"


@dataclass(frozen=True)
class Request:
    """What was asked for, checked; the manifest's `job` is made from it."""

    ipc: int
    seeds: int
    seed: int
    minutes: float | None
    image_size: int | None
    networks: tuple[str, ...]


def synthesize(
    data: Any,
    method: str | Distiller = "datm",
    *,
    ipc: int,
    out: str | Path | None = None,
    test: Any = None,
    run: str | Path | None = None,
    minutes: float | None = None,
    networks: Sequence[str] = (),
    seeds: int = 5,
    seed: int = 0,
    image_size: int | None = None,
    device: str = "auto",
    overwrite: bool = False,
    command: str = "",
    progress: Progress | None = None,
) -> Synthetic:
    """Makes `ipc` synthetic images of each class of `data` (whatever `curate.load` takes), tests them, and returns the set.

    `method` is a name of `curate list distillers`, with options, or a distiller. The set is tested by `seeds` fresh networks beside random
    real rows, k-center and herding of as many stored bytes, and all rows, in equal steps; `networks` adds architectures (convnet, mlp,
    resnet18, vgg11, vit) to the one that the method names. `test` is as for `compare`; the distiller never meets it. `minutes` fits the
    distillation to a time. `run` is another distilled folder whose experts are taken over. Without `out` all is kept in a temporary folder.

    The same call after a kill goes on where it stopped, with the same bytes. Raises before any training: OptionError for an `ipc` beyond
    the rows of a class, InputError for images of several sizes or colours, OtherJobError where `out` holds another job.
    """
    progress = progress or Silent()
    plugin, distiller = _distiller(method)
    request = _checked(Request(ipc, seeds, seed, minutes, image_size, tuple(networks)))
    data = load(data)
    running.require_labels(data, plugin.name)
    held = held_rows(data, test, seed, UNMET)
    keep = tempfile.TemporaryDirectory() if out is None else None
    target = Path(keep.name if keep is not None else str(out))
    with writing(target, overwrite=overwrite) as folder:
        job = _job_of(plugin, distiller, request, held)
        known = _known(folder, data, job)
        work = _Work(data, held, plugin, distiller, request, known, device, _experts(run), progress)
        with machine.as_started(work.settled):
            store = work.open(folder, job)
            work.do(store, command)
    return Synthetic(store, keep)


def plan(
    data: Any,
    method: str | Distiller = "datm",
    *,
    ipc: int,
    test: Any = None,
    minutes: float | None = None,
    seed: int = 0,
    image_size: int | None = None,
    device: str = "auto",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """What `synthesize` would do: the options as settled, and the seconds and bytes of memory of the distillation; writes nothing."""
    progress = progress or Silent()
    plugin, distiller = _distiller(method)
    request = _checked(Request(ipc, 1, seed, minutes, image_size, ()))
    data = load(data)
    running.require_labels(data, plugin.name)
    work = _Work(data, held_rows(data, test, seed, UNMET), plugin, distiller, request, None, device, None, progress)
    with tempfile.TemporaryDirectory() as folder, machine.as_started(work.settled):
        work.read(Path(folder))
        settled = distiller.settle(work.images, ipc, minutes)
        seconds, memory = settled.cost(work.images, ipc)
    rows = len(work.images.rows)
    require_memory(memory)
    return {"method": plugin.name, "options": options_of(settled), "rows": rows, "ipc": ipc, "seconds": round(seconds, 1), "memory": memory}


def _distiller(method: str | Distiller) -> tuple[Plugin, Distiller]:
    plugin = parse("distillers", method) if isinstance(method, str) else Plugin.of("distillers", method)
    return plugin, plugin.build() if isinstance(method, str) else method


def _checked(request: Request) -> Request:
    if request.ipc < 1:
        raise OptionError(f"ipc is the number of images a class, 1 or more; got {request.ipc}.")
    if request.seeds < 1:
        raise OptionError(f"seeds must be 1 or more, got {request.seeds}; an interval needs 2, and 5 are usual.")
    if request.minutes is not None and not request.minutes > 0:
        raise OptionError(f"minutes must be above 0, got {request.minutes}.")
    if request.image_size is not None and request.image_size < 4:
        raise OptionError(f"image_size must be 4 or more pixels, got {request.image_size}.")
    known = part("distillers", "networks").NETWORKS
    for name in request.networks:
        if name not in known:
            raise UnknownNameError(f'No network "{name}".{did_you_mean(name, known)} There are: {", ".join(known)}.')
    return request


def _experts(run: str | Path | None) -> Path | None:
    """Where another job keeps its experts."""
    if run is None:
        return None
    folder = Path(run)
    if not folder.is_dir():
        raise InputError(
            f'--run "{folder}" is no folder; a folder that `curate distill` wrote is expected. Leave it out to train experts anew.'
        )
    return folder / RUNS if (folder / RUNS).is_dir() else folder


def _job_of(plugin: Plugin, distiller: Distiller, request: Request, held: Held) -> dict[str, Any]:
    about = {"method": plugin.method, "options": _recorded(distiller), "version": distiller.version, "source_hash": plugin.source_hash}
    test = {"from": held.origin, "rows": len(held.data), "fingerprint": held.data.fingerprint}
    job: dict[str, Any] = json.loads(json.dumps({**about, **asdict(request), "test": test}))
    return job


def _identity(distiller: Distiller) -> dict[str, str | None]:
    return dict(distiller.identity()) if isinstance(distiller, Identified) else {}


def _recorded(distiller: Distiller) -> dict[str, Any]:
    """The options as a manifest has them: what a file holds in place of where it lies."""
    return options_of(distiller) | _identity(distiller)


def _known(folder: Path, data: Dataset, job: Mapping[str, Any]) -> Store | None:
    """The job that is in the folder already, if it is this one; OtherJobError for any other."""
    if not (folder / "manifest.json").is_file():
        return None
    store = Store.open(folder)
    if store.kind != KIND or store.dataset["fingerprint"] != data.fingerprint:
        raise OtherJobError(f'"{folder}" holds {store.kind} of another dataset or kind. Use another --out, or --overwrite.')
    if store.job != job:
        raise OtherJobError(f'"{folder}" holds another set ({differences(store.job, job)}). Use another --out, or --overwrite.')
    return store


class _Work:
    """One call of `synthesize`: the images, the distiller as settled, and what is made already."""

    def __init__(
        self,
        data: Dataset,
        held: Held,
        plugin: Plugin,
        distiller: Distiller,
        request: Request,
        known: Store | None,
        device: str,
        runs: Path | None,
        progress: Progress,
    ) -> None:
        self.data, self.held, self.plugin, self.distiller, self.request = data, held, plugin, distiller, request
        self.known, self.runs, self.progress = known, runs, progress
        self.images: Any = None
        if known is not None:
            machine.require_device(known.settled, device)
            self.settled = known.settled
        else:
            self.settled = {**machine.settle(device), "threads": _threads(data, request)}

    def read(self, folder: Path) -> None:
        """Reads and checks the images, of training and testing, and fits the transform."""
        import torch

        room, device = part("distillers", "images"), torch.device(self.settled["device"])
        inputs = room.read_images(self.data, device, self.progress, self.request.image_size, None)
        if self.held.data.modality != "image":
            raise InputError(f'The test set "{self.held.data.source}" is {self.held.data.modality} data; images are expected.')
        test = room.read_images(self.held.data, device, Silent(), self.request.image_size or inputs.shape[1], inputs)
        out = excluded_rows(self.data, self.held, inputs.failed)
        labels = self.data.labels
        rows = np.flatnonzero((labels >= 0) & ~np.isin(np.arange(len(self.data)), list(out)))
        lost = len(self.data) - len(rows) - len(self.held.taken)
        if lost:
            self.progress.note(f"{lost:,} rows are left out: without a label, unreadable, or with the same image as a test row.")
        room.require_classes(self.data, rows, self.request.ipc)
        whiten = room.whitened(self.distiller.whiten, inputs.shape)
        classes = len(self.data.label_names)
        self.images = room.make_images(inputs, labels, rows, classes, whiten, folder / RUNS, self.runs, self.progress)
        usable = np.flatnonzero((self.held.data.labels >= 0) & ~np.isin(np.arange(len(self.held.data)), list(test.failed)))
        self.test_images = self.images.transform.apply(test.pixels[torch.from_numpy(usable)])
        self.test_labels = torch.from_numpy(self.held.data.labels[usable]).to(device)

    def open(self, folder: Path, job: Mapping[str, Any]) -> Store:
        """The store of this very job, with every option settled before any long work."""
        self.read(folder)
        if self.known is not None:
            store = self.known
            for fault in store.drop_damaged():
                self.progress.note(f'File "{fault.file}" is damaged ({fault.problem}); it is made again.')
        else:
            with _said_what_does_not_fit(self.request.ipc):
                settled = self.distiller.settle(self.images, self.request.ipc, self.request.minutes)
            self.settled = {**self.settled, "options": json.loads(json.dumps(_recorded(settled)))}
            store = Store.create(folder, KIND, dataset=describe_dataset(self.data), job=job, settled=self.settled)
        named = options_of(self.distiller)
        files = {name: named[name] for name in _identity(self.distiller)}
        self.distiller = type(self.distiller)(**{**_as_options(self.settled["options"]), **files})
        (folder / RUNS).mkdir(exist_ok=True)
        return store

    def do(self, store: Store, command: str) -> None:
        """Distils, writes, tests; what is there already is not made again."""
        for table in (HISTORY, EVALUATION, HERE):
            store.describe(table, {})
        if not store.files(DATA):
            self._distil(store)
        made = Synthetic(store)
        worth_of(made, self.images, (self.test_images, self.test_labels), self.request, self.progress)
        if GRID not in {entry.file for entry in store.files(HERE)}:
            pixels = picture(made.read())
            store.add_file(HERE, GRID, lambda path: path.write_bytes(png.encode(pixels)))
        if CARD not in {entry.file for entry in store.files(HERE)}:
            text = made.card(initial_seeds(self.request), command)
            store.add_file(HERE, CARD, lambda path: path.write_text(text, encoding="utf-8"))

    def _distil(self, store: Store) -> None:
        started, cpu = time.perf_counter(), time.process_time()
        rng = KeyedRandom(self.request.seed, "distill", self.plugin.method)
        _, need = self.distiller.cost(self.images, self.request.ipc)
        require_memory(need)
        with _said_what_does_not_fit(self.request.ipc):
            made = self.distiller.distill(self.images, self.request.ipc, rng)
        if not np.isfinite(made.images).all():
            raise InputError(f"{self.plugin.name} made images that are not finite. Use a smaller lr_img, and --overwrite.")
        save = part("distillers", "zca").save
        store.add_file(HERE, TRANSFORM, lambda path: save(self.images.transform, path))
        for name, values in made.history.items():
            curve = pa.table({"curve": [name] * len(values), "step": np.arange(len(values)), "value": np.asarray(values, np.float64)})
            store.add_shard(HISTORY, f"{name}.arrow", curve)
        _, channels, height, width = made.images.shape
        about = {"rows": len(made.images), "shape": [height, width, channels], "rate": made.rate, "training": asdict(made.training)}
        about |= {"whitened": type(self.images.transform).__name__ == "ZCA", "soft": made.soft_labels is not None}
        about |= {"facts": dict(made.facts)} if made.facts else {}
        about |= {"classes": self.images.classes, **part("distillers", "networks").convnet_layout((channels, height, width))}
        store.describe(DATA, about | {"stored": stored(made)})
        if made.compact is not None:
            store.add_file(DATA, COMPENSATED, replace(made.compact, names=tuple(self.data.label_names)).save)
        else:
            table = table_of(made, self.data.label_names, self.data.column(self.data.id) if self.data.id is not None else None)
            store.add_file(DATA, FILE, lambda path: pq.write_table(table, str(path)))
        store.log("distill", wall=time.perf_counter() - started, cpu=time.process_time() - cpu)


def _threads(data: Dataset, request: Request) -> int:
    """All cores, but one for small images: their steps are too short to share."""
    import torch

    first = next((image for image in data.images(0, min(64, len(data))) if image is not None), None) if data.modality == "image" else None
    pixels = request.image_size**2 if request.image_size else 0 if first is None else first.size[0] * first.size[1]
    return torch.get_num_threads() if 128 * pixels >= machine.SHARED_PIXELS else 1


def _as_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as they were before JSON made lists of tuples."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in options.items()}


@contextmanager
def _said_what_does_not_fit(ipc: int) -> Iterator[None]:
    """Running out of memory, on whatever device, as an error that says what to lower."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        full = isinstance(error, MemoryError) or "out of memory" in str(error) or "can't allocate memory" in str(error)
        if not full:
            raise
        raise DoesNotFitError(
            f"The distillation ran out of memory ({str(error).splitlines()[0][:120]}). Lower --ipc (now {ipc}), the method's batch, width "
            "or number of steps, or, of a method that has it, take engine=adjoint, whose memory does not grow with the steps."
        ) from error


def picture(made: Distilled) -> "np.ndarray[Any, np.dtype[np.uint8]]":
    """A line of pictures a class, the first ten of each, clipped to 0 … 255 and enlarged, (height, width[, 3])."""
    _, channels, height, width = made.images.shape
    zoom = max(1, -(-TILE // min(height, width)))
    shown = np.clip(np.rint(made.images), 0, 255).astype(np.uint8).repeat(zoom, 2).repeat(zoom, 3)
    classes = np.unique(made.labels)
    members = [np.flatnonzero(made.labels == code)[:COLUMNS] for code in classes]
    across = max(len(rows) for rows in members)
    sheet = np.full((channels, len(classes) * (height * zoom + 2), across * (width * zoom + 2)), 255, np.uint8)
    for down, rows in enumerate(members):
        for right, row in enumerate(rows):
            top, left = down * (height * zoom + 2), right * (width * zoom + 2)
            sheet[:, top : top + height * zoom, left : left + width * zoom] = shown[row]
    return sheet[0] if channels == 1 else np.ascontiguousarray(sheet.transpose(1, 2, 0))
