"""Records a Lightning `Trainer` by a callback."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from curate.errors import InputError, MissingExtraError
from curate.signals.recorder import Recorder

try:
    from lightning.pytorch import Callback
except ImportError:
    raise MissingExtraError('curate.integrations.lightning needs lightning. Install it: pip install "curatekit[lightning]"') from None


class RecorderCallback(Callback):  # type: ignore[misc]  # lightning is untyped here
    """Records every training batch: `Trainer(callbacks=[RecorderCallback(recorder, rows=0)])`.

    `rows` says where a batch has its row numbers: a position, a key, or a function of the batch. The logits are what `training_step`
    returns as `logits` beside its `loss`, else what the module's `forward` gave in it, which must then be called once as `self(x)`.
    `labels` finds the labels like `rows`; by default they are the dataset's own. Epochs end with Lightning's, the memory goes into its
    checkpoints, and validation is not recorded. `checkpoints` keeps the weights of every epoch in the recording.
    """

    def __init__(
        self,
        recorder: Recorder,
        rows: int | str | Callable[[Any], Any],
        *,
        labels: int | str | Callable[[Any], Any] | None = None,
        checkpoints: bool = False,
    ) -> None:
        self.recorder, self.rows, self.labels, self.checkpoints = recorder, rows, labels, checkpoints
        self._seen: list[Any] = []
        self._hook: Any = None

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
        self._seen = []
        self._hook = module.register_forward_hook(lambda _, __, output: self._seen.append(output))

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self._hook.remove()
        given = outputs.get("logits") if isinstance(outputs, Mapping) else None
        if given is None and len(self._seen) != 1:
            raise InputError(
                f"The module's forward was called {len(self._seen)} times in training_step; once is expected. Call the module as self(x), "
                'or return {"loss": loss, "logits": logits}.'
            )
        logits = self._seen[0] if given is None else given
        logits = getattr(logits, "logits", logits)
        self._seen = []
        if not isinstance(logits, Tensor):
            raise InputError(f"The module gave {type(logits).__name__}; logits are expected, from forward or as logits of training_step.")
        labels = None if self.labels is None else torch.as_tensor(_part(batch, self.labels))
        with torch.no_grad():
            self.recorder.log(_part(batch, self.rows), logits.detach(), labels)

    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        self.recorder.end_epoch(module if self.checkpoints else None)

    def state_dict(self) -> dict[str, Any]:
        return self.recorder.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.recorder.load_state_dict(state_dict)


def _part(batch: Any, where: int | str | Callable[[Any], Any]) -> Any:
    if callable(where):
        return where(batch)
    try:
        return batch[where]
    except (KeyError, IndexError, TypeError):
        held = ", ".join(batch) if isinstance(batch, Mapping) else f"{len(batch)} parts" if isinstance(batch, list | tuple) else type(batch)
        raise InputError(f"A batch has no {where!r}; it has {held}. Let the dataset give each row's number, and say where.") from None
