"""Carries a recorder and a sampler through an `accelerate` loop: its checkpoints hold them, its processes record together."""

from typing import Any

from curate.errors import OptionError
from curate.signals.recorder import Recorder


def follow(accelerator: Any, recorder: Recorder, sampler: Any = None) -> Recorder:
    """Puts the recorder, and an online sampler where there is one, into `accelerator.save_state` and `load_state`; returns the recorder.

    `recorder.log(rows, logits, labels)` with what the process at hand sees, and `recorder.end_epoch()` in every process, is all that
    the loop adds. A loop that resumes calls `loader.set_epoch(epoch)` before each epoch: accelerate counts them anew in each process.
    accelerate splits the batches between processes, so that the sampler must not: OptionError unless it has rank=0,
    world=1 where there are several. Where the last batch is filled up with rows of the first, those count twice and are averaged.
    """
    if sampler is not None and accelerator.num_processes > 1 and sampler.world != 1:
        raise OptionError(f"accelerate splits the batches of {accelerator.num_processes} processes. Make the sampler with rank=0, world=1.")
    accelerator.register_for_checkpointing(recorder, *([] if sampler is None else [sampler]))
    return recorder
