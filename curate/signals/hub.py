"""Opens what comes from a model hub or a folder, and says at once and in plain words why it cannot be had."""

import ssl
import urllib.error
import urllib.request
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Final

from curate.errors import InputError

PATIENCE: Final = 10.0  # seconds for the request by which it is known whether the hub is there


def loaded(what: str, name: str, load: Callable[..., Any], **options: Any) -> Any:
    """What `load` gives for a hub name or a folder, and never the code that comes with it; InputError with the reason where it gives none.

    A hub that cannot be reached is asked once, and what the cache has is used. The libraries' own way is to try five times, which takes
    half a minute, before they say that they are offline.
    """
    folder = Path(name).expanduser()
    is_away = not folder.is_dir() and not _answers(_endpoint())
    only_here = {"local_files_only": True} if is_away else {}
    try:
        return load(str(folder) if folder.is_dir() else name, trust_remote_code=False, **only_here, **options)
    except (OSError, ValueError, KeyError) as error:
        if is_away:
            raise InputError(_away(what, name)) from error
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(
            f'Could not load the {what} of "{name}": {first} Is it a hub name, or a folder made by save_pretrained?'
        ) from error


def _away(what: str, name: str) -> str:
    from huggingface_hub import constants

    why = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else f"the hub ({_endpoint()}) cannot be reached"
    return (
        f'Could not load the {what} of "{name}": there is no such folder, {why}, and the cache ({constants.HF_HUB_CACHE}) has none. '
        "Give the path of a folder made by save_pretrained, or let it be downloaded once; HF_ENDPOINT names a mirror."
    )


def _endpoint() -> str:
    from huggingface_hub import constants

    return "" if constants.HF_HUB_OFFLINE else str(constants.ENDPOINT)


@cache
def _answers(endpoint: str) -> bool:
    """Whether anything answers there, whatever it says; no address is one that nothing answers at."""
    if not endpoint:
        return False
    try:
        urllib.request.urlopen(urllib.request.Request(endpoint, method="HEAD"), timeout=PATIENCE).close()
    except urllib.error.HTTPError:
        return True
    except urllib.error.URLError as error:
        return isinstance(error.reason, ssl.SSLError)  # whose certificates are to be trusted is the library's business
    except OSError:
        return False
    return True
