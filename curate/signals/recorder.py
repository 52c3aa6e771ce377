"""The recorder: three lines in any training loop, and every logit scorer is at hand afterwards."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.distributed
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn

from curate.data import Dataset
from curate.errors import ColumnError, InputError, OtherJobError, UsageError
from curate.loading import load
from curate.locks import locked
from curate.scores import Scores, describe_dataset, require_same_dataset
from curate.signals.runs import CHECKPOINTS, DYNAMICS, Run, epoch_columns, epoch_name
from curate.signals.sums import RowSums, row_numbers
from curate.store import Store, default_shard_rows, writing

if TYPE_CHECKING:
    from curate.protocols import Scorer

RUN = "runs/recorded"


class Recorder:
    """Records what each presentation says of its row, while a loop of your own trains.

        recorder = Recorder("runs/mine", data)
        for epoch in range(5):
            for rows, x, y in loader:
                logits = model(x)
                recorder.log(rows, logits, y)
                …
            recorder.end_epoch(model)
        scores = recorder.score(["aum", "forgetting", "datamap"])

    `rows` are positions in `data`, in any order; a row may come twice in a batch, or not at all. Memory: 44 bytes a row on the
    logits' device and, with `kappa` (which `tdds` reads), classes x 4 bytes a row more. Each epoch writes 32 bytes a row to
    `out`. A folder with a recording is continued with `resume=True` and emptied with `overwrite=True`.

    Under torch.distributed each rank records its own batches, every rank calls `end_epoch`, and the first writes what all of them saw:
    the same as one process would have. A row that several ranks present in an epoch, as where a loader fills up its last batch, is
    averaged. Make the recorder after the process group.
    """

    def __init__(
        self,
        out: str | Path,
        data: Any,
        *,
        classes: int | None = None,
        seed: int = 0,
        kappa: bool = True,
        resume: bool = False,
        overwrite: bool = False,
    ) -> None:
        self.data: Dataset = data if isinstance(data, Dataset) else load(data)
        self.out = Path(out)
        self._classes = classes
        self._kappa = kappa
        self._sums: RowSums | None = None
        self._labels: Tensor | None = None
        self._kind: str | None = None
        self._writer = _is_first_rank()
        self._opened = self._open(seed, resume, overwrite) if self._writer else None
        self._epochs_done = _from_first_rank(self._opened.epochs_done if self._opened is not None else 0)

    @property
    def epoch(self) -> int:
        """The epoch that is being recorded, from 1."""
        return self._epochs_done + 1

    @property
    def classes(self) -> int | None:
        """How wide logits must be: as given, else as many classes as the data have; None without labels."""
        return self._classes or (len(self.data.label_names) if self.data.label is not None else None)

    @property
    def has_rows(self) -> bool:
        """Whether anything of the current epoch is recorded."""
        return self._kind is not None

    @property
    def _run(self) -> Run:
        if self._opened is None:
            raise UsageError("Only the first rank holds the recording: call this where torch.distributed.get_rank() is 0.")
        return self._opened

    @contextmanager
    def step(self, rows: Tensor | NDArray[np.int64] | Sequence[int], model: nn.Module) -> Iterator[None]:
        """Records what `model` puts out inside, for these rows with the dataset's own labels, where the logits are out of reach.

            with recorder.step(rows, model):
                loss = loss_of_my_own(model, batch)

        The output is the logits, or has them as `logits`. InputError where the model was not called, or more than once, in training mode.
        """
        seen: list[Any] = []
        hook = model.register_forward_hook(lambda module, _, output: seen.append(output) if module.training else None)
        try:
            yield
        finally:
            hook.remove()
        if len(seen) != 1:
            raise InputError(
                f"The model was called {len(seen)} times in training mode inside step(); once is expected. "
                "Call recorder.log(rows, logits) yourself where it is otherwise."
            )
        logits = getattr(seen[0], "logits", seen[0])
        if not isinstance(logits, Tensor):
            raise InputError(f"The model gave {type(logits).__name__}; logits, or an object with `logits`, are expected. Use recorder.log.")
        self.log(rows, logits.detach())

    def log(
        self,
        rows: Tensor | NDArray[np.int64] | Sequence[int],
        logits: Tensor | None = None,
        labels: Tensor | None = None,
        *,
        loss: Tensor | None = None,
    ) -> None:
        """Adds one batch: logits (b, classes) and labels (b,), by default the dataset's own; or `loss`, (b,), without class logits.

        Of a loss alone, p = exp(-loss) is the probability that scorers see, for a language model the geometric mean of its tokens'; a
        row counts as right where p is ½ or more.

        Costs one pass over the logits, about a millisecond for 512 x 100 on a CPU core; the graph is not touched.
        Presentations whose loss is not finite, or whose label is missing (below 0), are skipped. InputError for rows or labels out of
        range (on the CPU; a GPU is not waited for) or logits of another width.
        """
        if (logits is None) == (loss is None):
            raise UsageError("log() takes either logits or loss=…, one of the two.")
        kind = "loss" if logits is None else "logits"
        if self._kind not in (None, kind):
            raise UsageError(f"This epoch was begun with {self._kind}; log() cannot go on with {kind}.")
        self._kind = kind
        values = torch.as_tensor(loss if logits is None else logits)
        if not values.ndim:
            raise InputError('One loss came for all rows; one a row is expected: compute the loss with reduction="none".')
        where = self._checked_rows(rows, len(values)).to(values.device, non_blocking=True)
        sums = self._sums_for(values)
        if logits is None:
            sums.add_loss(where, values.reshape(-1))
        else:
            given = self._own_labels(values.device)[where] if labels is None else _checked_labels(labels, values).to(values.device)
            sums.add_logits(where, values, given.long())

    def end_epoch(self, model: nn.Module | None = None) -> None:
        """Writes the epoch to disk, and the model's weights beside it where one is given."""
        self._reduce(model)
        if self._sums is None or not int(self._sums.visits.sum()) + int(self._sums.skipped):
            raise InputError(f"No row was logged in epoch {self.epoch}. Call recorder.log(rows, logits, labels) once a batch.")
        if self._writer:
            self._write_epoch(self._sums, model)
        self._epochs_done += 1
        self._sums.clear()
        self._kind = None

    def _write_epoch(self, sums: RowSums, model: nn.Module | None) -> None:
        columns = sums.loss_means() if self._kind == "loss" else sums.means()
        with locked(self.out):
            if model is not None:
                state = {name: value.detach().cpu().contiguous().clone() for name, value in model.state_dict().items()}
                self._run.store.add_file(CHECKPOINTS, epoch_name(self.epoch, "safetensors"), lambda path: save_file(state, str(path)))
            self._run.write_epoch(DYNAMICS, self.epoch, epoch_columns(columns))

    def score(self, scorers: "Sequence[str | Scorer]", **options: Any) -> Scores:
        """Scores what has been recorded so far into `out`; asked again after more epochs, the scores are made anew."""
        from curate.plugins import stage

        if not self._run.epochs_done:
            raise InputError("Nothing is recorded yet. Call end_epoch() at least once before score().")
        self._drop_scores_of_shorter_runs()
        found: Scores = stage("scoring").score(self.data, scorers, out=self.out, run=self._run.store.path, **options)
        return found

    def state_dict(self) -> dict[str, Any]:
        """The recorder's memory in mid-epoch, to go with the loop's own checkpoint."""
        sums = {} if self._sums is None else {name: value.clone() for name, value in self._sums.state_dict().items()}
        return {"epoch": self.epoch, "kind": self._kind, "sums": sums, "classes": self._sums.classes if self._sums else None}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes back to where `state` was taken; epochs that were written since are dropped, to be recorded again."""
        if state["epoch"] > self.epoch:
            raise InputError(
                f'The state is of epoch {state["epoch"]}, but "{self.out}" holds {self._run.epochs_done}. Is it another recording?'
            )
        if self._writer:
            with locked(self.out):
                for table, suffix in ((DYNAMICS, "arrow"), (CHECKPOINTS, "safetensors")):
                    kept = {epoch_name(e, suffix) for e in range(1, state["epoch"])}
                    self._run.store.forget(table, [e.file for e in self._run.store.files(table) if e.file not in kept])
        self._epochs_done = state["epoch"] - 1
        self._kind = state["kind"]
        self._sums = None
        if state["sums"]:
            device = state["sums"]["sums"].device
            self._sums = RowSums(len(self.data), state["classes"], device=device, with_kappa="previous" in state["sums"])
            try:
                self._sums.load_state_dict(state["sums"])
            except ValueError as error:
                raise InputError(f"{error}.") from None

    def merge(self, state: Mapping[str, Any]) -> None:
        """Adds what another rank recorded of this epoch (its `state_dict`), so that one rank writes for all."""
        if state["epoch"] != self.epoch:
            raise InputError(
                f"The other rank is in epoch {state['epoch']}, this one in {self.epoch}. Merge before end_epoch of the same epoch."
            )
        if not state["sums"]:
            return
        if self._sums is None:
            self.load_state_dict(state)
        else:
            self._sums.merge(state["sums"])
            self._kind = self._kind or state["kind"]

    def _reduce(self, model: nn.Module | None) -> None:
        """Adds up what the ranks recorded; one that saw no row of the epoch takes part all the same."""
        if not _is_distributed():
            return
        device = self._sums.sums.device if self._sums is not None else _collective_device(model)
        kinds = ("loss", "logits")
        own = [1 + kinds.index(self._kind), (self._sums.classes or 0) if self._sums is not None else 0] if self._kind else [0, 0]
        said = torch.tensor([*own, len(self.data), -len(self.data), self.epoch, -self.epoch], device=device)
        torch.distributed.all_reduce(said, torch.distributed.ReduceOp.MAX)
        kind, classes, *bounds = said.tolist()
        for what, most, least in (("rows", bounds[0], -bounds[1]), ("epoch", bounds[2], -bounds[3])):
            if most != least:
                raise InputError(f"The ranks differ: {what} {least} on one, {most} on another. Give each the same data and epochs.")
        if not kind:
            return
        self._kind = self._kind or kinds[kind - 1]
        if self._sums is None:
            self._sums = RowSums(len(self.data), classes or None, device=device, with_kappa=self._kappa and classes > 0)
        self._sums.all_reduce()

    def _open(self, seed: int, resume: bool, overwrite: bool) -> Run:
        described = describe_dataset(self.data)
        with writing(self.out, overwrite=overwrite):
            path = self.out / RUN
            if (path / "manifest.json").is_file():
                run = Run.open(path)
                if not resume:
                    raise OtherJobError(
                        f'"{self.out}" holds a recording of {run.epochs_done} epochs. '
                        "Pass resume=True to go on with it, overwrite=True to start anew."
                    )
                require_same_dataset(run.store, self.data)
                return _with_tables(run.store)  # which one killed in its first epoch has not yet
            if not (self.out / "manifest.json").is_file():
                Store.create(
                    self.out,
                    "scores",
                    dataset=described,
                    job={"seeds": [seed], "run": None},
                    settled={"shard_rows": default_shard_rows(len(self.data))},
                )
            store = Store.create(path, "run", dataset=described, job={"model": None, "seed": seed}, settled={})
            return _with_tables(store)

    def _checked_rows(self, rows: Any, batch: int) -> Tensor:
        where = row_numbers(rows, len(self.data), "dataset")
        if len(where) != batch:
            raise InputError(f"{len(where)} rows came with {batch} outputs; one row an output is expected.")
        return where

    def _sums_for(self, values: Tensor) -> RowSums:
        if self._kind == "logits":
            if values.ndim != 2 or values.shape[1] < 2:
                raise InputError(f"Logits of shape {tuple(values.shape)}; (batch, classes) with two or more classes is expected.")
            expected = self._classes or (self._sums.classes if self._sums is not None else None) or self.classes
            if expected is not None and values.shape[1] != expected:
                raise InputError(f"Logits are {values.shape[1]} wide, but there are {expected} classes. Pass classes=… if that is meant.")
        if self._sums is None:
            classes = values.shape[1] if self._kind == "logits" else None
            self._sums = RowSums(len(self.data), classes, device=values.device, with_kappa=self._kappa and classes is not None)
        return self._sums

    def _own_labels(self, device: torch.device) -> Tensor:
        if self.data.label is None:
            raise ColumnError(f'"{self.data.source}" has no label column, so log() needs labels.')
        if self._labels is None or self._labels.device != device:
            self._labels = torch.from_numpy(self.data.labels.copy()).to(device)
        return self._labels

    def _drop_scores_of_shorter_runs(self) -> None:
        store = Store.open(self.out)
        stale = [name for name in Scores(store).names if store.about(name).get("epochs") not in (None, self._run.epochs_done)]
        with locked(self.out):
            for name in stale:
                store.drop_table(name)


def _with_tables(store: Store) -> Run:
    for table in (DYNAMICS, CHECKPOINTS):
        store.describe(table, {})
    return Run(store)


def _is_distributed() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def _is_first_rank() -> bool:
    if _is_distributed():
        return torch.distributed.get_rank() == 0
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and "RANK" in os.environ:
        raise UsageError("Several processes are started, but torch.distributed is not yet. Make the recorder after init_process_group.")
    return True


def _from_first_rank(value: int) -> int:
    if not _is_distributed():
        return value
    told = torch.tensor(value, device=_collective_device(None))
    torch.distributed.broadcast(told, 0)
    return int(told)


def _collective_device(model: nn.Module | None) -> torch.device:
    parameter = next(model.parameters(), None) if model is not None else None
    if parameter is not None:
        return parameter.device
    return torch.device("cuda" if torch.distributed.get_backend() == "nccl" else "cpu")


def _checked_labels(labels: Tensor, logits: Tensor) -> Tensor:
    codes = torch.as_tensor(labels).reshape(-1)
    if len(codes) != len(logits):
        raise InputError(f"{len(codes)} labels came with {len(logits)} outputs; one label an output is expected.")
    if codes.device.type == "cpu" and len(codes) and int(codes.max()) >= logits.shape[1]:
        raise InputError(f"Label {int(codes.max())} is out of range: logits {logits.shape[1]} wide have labels 0 … {logits.shape[1] - 1}.")
    return codes
