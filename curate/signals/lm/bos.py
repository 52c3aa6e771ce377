"""Which token stands before a text, so that the text's own first token can be judged."""

from typing import Literal

from curate.errors import OptionError
from curate.signals.lm.model import LanguageModel


def first_token(lm: LanguageModel, wanted: Literal["auto", "add", "none"], name: str) -> list[int]:
    """The ids to put before a text, one or none; OptionError for `add` where the tokenizer has neither bos nor eos."""
    if wanted == "add" and lm.two_sided:
        raise OptionError(f'"{name}" is an encoder-decoder, which begins its answer with a token of its own. Leave bos=add out.')
    if wanted == "none" or lm.two_sided:
        return []
    if wanted == "auto":
        return [] if lm.bos is None else [lm.bos]
    found = next((n for n in (lm.tokenizer.bos_token_id, lm.tokenizer.eos_token_id) if n is not None), None)
    if found is None:
        raise OptionError(f'The tokenizer of "{name}" has neither a bos nor an eos token to put first. Leave bos=add out.')
    return [int(found)]
