"""What the scorers that read a language model's losses share: the model, the token before a text, and how long a text may be."""

from abc import ABC
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from curate.errors import OptionError
from curate.protocols import PerRow

if TYPE_CHECKING:
    from curate.signals.lm.model import LanguageModel

Bos = Literal["auto", "add", "none"]
Precision = Literal["auto", "float32", "bfloat16"]
Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


class AbstractByLosses(PerRow, ABC):
    """The options of the model, kept under their names, and the model itself between `open` and `close`."""

    name: ClassVar[str]
    least: ClassVar[int]  # tokens that a text must have room for

    def __init__(self, model: str, length: int, bos: Bos, precision: Precision, batch_tokens: int) -> None:
        if length < self.least:
            raise OptionError(f"{self.name}: length must be {self.least} tokens or more, got {length}.")
        if batch_tokens < 1:
            raise OptionError(f"{self.name}: batch_tokens must be 1 or more, got {batch_tokens}.")
        self.model = model
        self.length = length
        self.bos: Bos = bos
        self.precision: Precision = precision
        self.batch_tokens = batch_tokens
        self._opened: LanguageModel | None = None

    def identity(self) -> Mapping[str, str | None]:
        from curate.signals.lm.loading import identity

        return {"model": identity(self.model)}

    def weight(self, device: str) -> int:
        from curate.signals.lm.memory import needed

        return needed(self.model, device, self.precision, self.batch_tokens)

    def open(self, device: str) -> None:
        from curate.signals.lm.bos import first_token
        from curate.signals.lm.model import LanguageModel

        self._opened = LanguageModel.open(self.model, device, precision=self.precision, batch_tokens=self.batch_tokens)
        self._first = first_token(self._opened, self.bos, self.model)
        self._length = min(self.length, self._opened.context)

    def close(self) -> None:
        self._opened = None

    @property
    def _lm(self) -> "LanguageModel":
        assert self._opened is not None, "open comes before"
        return self._opened
