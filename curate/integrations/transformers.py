"""Records a `transformers.Trainer`, or a subclass such as TRL's, while it trains as it always does."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral
from pathlib import Path
from typing import Any, Final, Literal

import torch
from torch import Tensor, nn

from curate.errors import InputError, MissingExtraError
from curate.signals.recorder import Recorder

try:
    from transformers import TrainerCallback
except ImportError:
    raise MissingExtraError('curate.integrations.transformers needs transformers. Install it: pip install "curatekit[text]"') from None

ROWS: Final = "curate_rows"
IGNORED: Final = -100  # the label of padding and prompt tokens in transformers
CHUNK: Final = 1 << 24  # logits turned into float32 at a time
CACHED: Final = 1 << 18  # the same on a CPU, where more of them would be fetched from memory thrice, into pages that are new each time

Tokens = Literal["auto", "next", "same"]


def record(trainer: Any, recorder: Recorder, *, rows: str | None = None, checkpoints: bool = False, tokens: Tokens = "auto") -> Any:
    """Makes a Trainer record its training; returns the trainer, to be trained as before.

        trainer = record(Trainer(model, arguments, train_dataset=tokenised), curate.Recorder("runs/mine", data))
        trainer.train()

    Position i of the training set is row i of the recorder's data, unless `rows` names a column of the training set that says which row
    it is (after filtering or shuffling). Classifiers are recorded by their logits. Language models, whose logits are (batch, tokens,
    words), by each row's mean loss over the tokens with a label, padding and prompt (-100) left out: `next` where the model predicts the
    token that follows, `same` where labels stand where the logits are (encoder-decoders, token classification, masked words);
    `auto` goes by the model. `checkpoints` keeps the weights of every epoch in the recording. Evaluation is not recorded. The recorder's
    memory goes into each checkpoint of the Trainer, and a resumed training goes on with it. InputError where the sizes do not match.
    """
    source = trainer.train_dataset
    if isinstance(source, WithRows):
        raise InputError("This Trainer is being recorded already. Make a new Trainer for another recording.")
    if source is None or not hasattr(source, "__len__"):
        raise InputError("The Trainer has no train_dataset with a length; a stream has no row numbers. Give it one that can be indexed.")
    if rows is None and len(source) != len(recorder.data):
        raise InputError(
            f"The Trainer's dataset has {len(source):,} rows, the recorder's {len(recorder.data):,}. Keep the row numbers in a column "
            'while filtering, and name it: record(…, rows="row").'
        )
    _require_classes(trainer.model, recorder)
    trainer.train_dataset = WithRows(source, rows)
    trainer.data_collator = CollateRows(trainer.data_collator)
    if trainer.args.remove_unused_columns:
        trainer._set_signature_columns_if_needed()  # what TRL's trainers override too: the list of the columns that stay
        trainer._signature_columns = [*trainer._signature_columns, ROWS]
    trainer.compute_loss = _recording(trainer.compute_loss, recorder, tokens)
    trainer.add_callback(_Epochs(recorder, checkpoints))
    return trainer


class WithRows(torch.utils.data.Dataset[Any]):
    """A dataset whose items, dicts, say which row they are."""

    def __init__(self, data: Any, column: str | None) -> None:
        self._data, self._column = data, column

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self._with_row(self._data[index], index)

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        fetch = getattr(self._data, "__getitems__", None)
        items = fetch(indices) if fetch is not None else [self._data[index] for index in indices]
        return [self._with_row(item, index) for item, index in zip(items, indices, strict=True)]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # also while unpickling in a worker, when there is no `_data` yet
            raise AttributeError(name)
        return getattr(self._data, name)

    def _with_row(self, item: Any, index: int) -> dict[str, Any]:
        if not isinstance(item, Mapping):
            raise InputError(f"Item {index} of the training set is a {type(item).__name__}; the Trainer's datasets give dicts.")
        if self._column is not None and self._column not in item:
            raise InputError(f'Item {index} of the training set has no "{self._column}"; it has {", ".join(item)}.')
        row = index if self._column is None else item[self._column]
        if not isinstance(row, Integral | Tensor):
            raise InputError(f'"{self._column}" of item {index} is {row!r}; the number of a row in the recorder\'s data is expected.')
        return {**item, ROWS: int(row)}


class CollateRows:
    """A collator that leads the row numbers past another one, which need not know them."""

    def __init__(self, collate: Callable[[list[Any]], Any]) -> None:
        self._collate = collate

    def __call__(self, items: list[Any]) -> Any:
        rows = [item[ROWS] for item in items if ROWS in item]
        batch = self._collate([{name: value for name, value in item.items() if name != ROWS} for item in items])
        if rows:  # evaluation has none
            batch[ROWS] = torch.tensor(rows)
        return batch


def token_losses(logits: Tensor, labels: Tensor, *, shift: bool) -> Tensor:
    """Each row's mean cross-entropy over the tokens with a label, (b,) float32, in nats; NaN where there is none.

    `logits` are (b, tokens, words), `labels` (b, tokens) with -100 where nothing counts. Costs one pass over the logits of the tokens with
    a label, of which a part is copied at a time: on the CPU one that stays in its cache, elsewhere 16 M numbers.
    """
    tokens, words = logits.shape[1:]
    labels = labels.to(logits.device)
    aligned = nn.functional.pad(labels[:, 1:], (0, 1), value=IGNORED) if shift else labels
    place = (aligned != IGNORED).flatten().nonzero()[:, 0]
    wanted, flat = aligned.flatten()[place], logits.flatten(0, 1)  # a view: models put their logits out in one piece
    step = max(1, (CACHED if logits.device.type == "cpu" else CHUNK) // words)
    totals = torch.zeros(len(labels), device=logits.device)
    counts = torch.zeros_like(totals)
    for part, label in zip(torch.split(place, step), torch.split(wanted, step), strict=True):
        row = part // tokens
        totals.index_add_(0, row, _losses(flat.index_select(0, part).float(), label))
        counts.index_add_(0, row, torch.ones_like(row, dtype=torch.float32))
    means: Tensor = totals / counts
    return means


def _losses(logits: Tensor, labels: Tensor) -> Tensor:
    """The cross-entropy of each of (m, words) logits, (m,), which are used up: nothing else of their size is made."""
    logits -= logits.amax(dim=1, keepdim=True)
    own = logits.gather(1, labels[:, None])[:, 0]
    return logits.exp_().sum(dim=1).log_() - own


def _recording(compute: Callable[..., Any], recorder: Recorder, tokens: Tokens) -> Callable[..., Any]:
    def compute_loss(model: nn.Module, inputs: Any, return_outputs: bool = False, **options: Any) -> Any:
        rows = inputs.pop(ROWS, None)
        if not model.training:
            return compute(model, inputs, return_outputs=return_outputs, **options)
        if rows is None:
            raise InputError(
                "A training batch came without row numbers, so it was not drawn from the Trainer's train_dataset. "
                "Let a loader of your own read `trainer.train_dataset` and collate by `trainer.data_collator`."
            )
        labels = inputs.get("labels")
        loss, outputs = compute(model, inputs, return_outputs=True, **options)
        with torch.no_grad():
            _log(recorder, rows, _logits(outputs), labels, tokens, model)
        return (loss, outputs) if return_outputs else loss

    return compute_loss


def _log(recorder: Recorder, rows: Tensor, logits: Tensor, labels: Tensor | None, tokens: Tokens, model: nn.Module) -> None:
    if logits.ndim == 2:
        if labels is not None and (labels.is_floating_point() or labels.ndim != 1):
            raise InputError(f"Labels of shape {tuple(labels.shape)} and type {labels.dtype}; one class number a row is expected.")
        recorder.log(rows, logits, labels)
    elif labels is None:
        raise InputError("A language model is recorded by its loss, and the batches have no labels.")
    else:
        recorder.log(rows, loss=token_losses(logits, labels, shift=_predicts_next(model) if tokens == "auto" else tokens == "next"))


def _require_classes(model: nn.Module, recorder: Recorder) -> None:
    """InputError for a classifier of another width than the recorder's classes, whose first batch would fail less plainly."""
    inner = _unwrapped(model)
    width = getattr(getattr(inner, "config", None), "num_labels", None)
    rows_have_classes = type(inner).__name__.endswith(("ForSequenceClassification", "ForImageClassification", "ForAudioClassification"))
    if rows_have_classes and recorder.classes not in (None, width):
        raise InputError(
            f"The model puts out {width} numbers a row, but the recorder's data have {recorder.classes} classes. "
            f"Make it with num_labels={recorder.classes}."
        )


def _unwrapped(model: nn.Module) -> Any:
    inner: Any = model.module if hasattr(model, "module") else model
    inner = getattr(inner, "_orig_mod", inner)  # what torch.compile wraps
    return inner.get_base_model() if hasattr(inner, "get_base_model") else inner  # what peft wraps


def _predicts_next(model: nn.Module) -> bool:
    inner = _unwrapped(model)
    here = ("ForTokenClassification", "ForMaskedLM")
    return not (getattr(getattr(inner, "config", None), "is_encoder_decoder", False) or type(inner).__name__.endswith(here))


def _logits(outputs: Any) -> Tensor:
    found = outputs.get("logits") if isinstance(outputs, Mapping) else getattr(outputs, "logits", None)
    if found is None and isinstance(outputs, tuple) and len(outputs) > 1:
        found = outputs[1]
    if not isinstance(found, Tensor):
        raise InputError(
            "The model's output has no logits (a fused loss leaves them out). Turn that off, or use Recorder.log(rows, loss=…)."
        )
    return found.detach()


class _Epochs(TrainerCallback):  # type: ignore[misc]  # transformers is untyped here
    """Ends the recorder's epochs with the Trainer's, and keeps its memory beside the Trainer's checkpoints."""

    def __init__(self, recorder: Recorder, checkpoints: bool) -> None:
        self.recorder, self.checkpoints = recorder, checkpoints

    def on_train_begin(self, args: Any, state: Any, control: Any, model: nn.Module | None = None, **_: Any) -> None:
        if not state.global_step:
            return
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        file = folder / _file(args)
        if not file.is_file():
            raise InputError(f'"{folder}" has no state of the recorder, so the epochs before it are not recorded. Train from the start.')
        self.recorder.load_state_dict(_read(file))
        if state.epoch is not None and math.isclose(state.epoch, round(state.epoch)) and self.recorder.has_rows:
            self._end(model)  # it was saved with the last step of an epoch, before its end was told

    def on_epoch_end(self, args: Any, state: Any, control: Any, model: nn.Module | None = None, **_: Any) -> None:
        self._end(model)

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        _write(self.recorder.state_dict(), Path(args.output_dir) / f"checkpoint-{state.global_step}" / _file(args))

    def _end(self, model: nn.Module | None) -> None:
        self.recorder.end_epoch(model if self.checkpoints else None)


def _file(args: Any) -> str:
    return f"curate-recorder-{args.process_index}.safetensors"


def _write(state: Mapping[str, Any], path: Path) -> None:
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)  # another rank's is not made yet
    about = json.dumps({name: value for name, value in state.items() if name != "sums"})
    save_file({name: value.cpu().contiguous() for name, value in state["sums"].items()}, str(path), {"recorder": about})


def _read(path: Path) -> dict[str, Any]:
    from safetensors import safe_open

    with safe_open(str(path), "pt") as file:
        about: dict[str, Any] = json.loads(file.metadata()["recorder"])
        return {**about, "sums": {name: file.get_tensor(name) for name in file.keys()}}
