"""Whether this machine has the disk and the memory that a job is going to need."""

import os
import shutil
from pathlib import Path
from typing import Final

from curate.errors import DoesNotFitError

LIMITS: Final = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")  # of control groups, version 2 and 1


def require_room(folder: Path, need: float) -> None:
    """DoesNotFitError where the disk has less room than the job is going to need."""
    existing = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())
    free = shutil.disk_usage(existing).free
    if need > free:
        raise DoesNotFitError(
            f'The job needs about {need / 1e9:.1f} GB on the disk of "{folder}", which has {free / 1e9:.1f} GB free. '
            "Free some room, choose another --out, or keep fewer weights with --checkpoints last."
        )


def require_memory(need: float) -> None:
    """DoesNotFitError where the machine has less memory than the job is going to need."""
    have = physical_memory()
    if have is not None and need > have:
        raise DoesNotFitError(
            f"The job needs about {need / 1e9:.1f} GB of memory, the machine has {have / 1e9:.1f} GB. "
            "Use --limit or a smaller --image-size."
        )


def memory_of(device: str) -> int | None:
    """Bytes of a device's own memory; of "cpu" those of the machine."""
    if not device.startswith("cuda"):
        return physical_memory()
    import torch

    return int(torch.cuda.get_device_properties(device).total_memory)


def physical_memory() -> int | None:
    """Bytes of memory, of a container those that it is allowed, or None where the system does not say."""
    try:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return None
    allowed = [Path(file).read_text().strip() for file in LIMITS if Path(file).is_file()]
    return min([total, *(int(text) for text in allowed if text.isdecimal())])  # "max" where there is no limit
