"""The machine that a job runs on: what of it moves rounding, settled when the job starts and kept when it goes on."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from curate.data import Dataset
from curate.errors import OptionError, OtherJobError

if TYPE_CHECKING:
    from curate.signals.proxies import Proxy
    from curate.signals.training import Recipe

# A batch of fewer pixels is one thread's work: 128 x 28 x 28 is shared, 64 x 8 x 8 is not.
SHARED_PIXELS = 32_768


def settle(device: str) -> dict[str, Any]:
    """What moves rounding, fixed when a job starts and kept when it resumes: device and library versions; `choose_threads` goes with it."""
    import torch

    chosen = device if device != "auto" else ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.zeros(1, device=chosen)
    except (RuntimeError, AssertionError) as error:
        raise OptionError(f'Device "{device}" cannot be used here ({str(error).splitlines()[0]}). Use --device cpu or auto.') from error
    return {"device": chosen, "torch": torch.__version__, "numpy": np.__version__}


def threads_now() -> int:
    """How many threads torch uses here."""
    import torch

    return torch.get_num_threads()


def choose_threads(data: Dataset, proxy: "Proxy", recipe: "Recipe") -> int:
    """All cores, but one for small networks: their steps are too short to share, and on a busy machine they wait for each other."""
    import torch

    from curate.signals.proxies import BUILT_IN

    if proxy.name not in BUILT_IN:
        return torch.get_num_threads()
    if data.modality != "image":
        return 1
    first = next((image for image in data.images(0, min(64, len(data))) if image is not None), None)
    pixels = recipe.image_size**2 if recipe.image_size else 0 if first is None else first.size[0] * first.size[1]
    return torch.get_num_threads() if pixels * recipe.batch_size >= SHARED_PIXELS else 1


@contextmanager
def as_started(settled: Mapping[str, Any]) -> Iterator[None]:
    """The machine as a job was started on it, for as long as the job runs; the caller's own settings come back afterwards."""
    import torch

    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.set_num_threads(settled.get("threads", threads))
    torch.use_deterministic_algorithms(settled.get("device") == "cpu", warn_only=True)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)


def require_device(settled: Mapping[str, Any], device: str) -> None:
    """OtherJobError where another device is asked for than the job was started on."""
    if device not in ("auto", settled["device"]):
        raise OtherJobError(
            f"The job was started with device {settled['device']}, --device says {device}. Leave it out, or use another --out."
        )
