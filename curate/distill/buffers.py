"""Experts as the official code of MTT and those that follow it save them: files `replay_buffer_0.pt`, `replay_buffer_1.pt`, …

A file is a list of experts, an expert a list of the weights after epoch 0, 1, …, and these a list of tensors in `module.parameters()`
order. Read with `weights_only`: nothing in a file is run.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Final

import torch
from torch import Tensor

from curate.distill.networks import Network
from curate.errors import InputError

NAME: Final = re.compile(r"replay_buffer_(\d+)\.pt")


def buffers_in(folder: Path) -> list[Path]:
    """The buffers that lie in a folder, by number."""
    found = [(int(match[1]), path) for path in folder.iterdir() if (match := NAME.fullmatch(path.name))]
    return [path for _, path in sorted(found)]


def trajectories(files: Sequence[Path], network: Network, epochs: int) -> Iterator[Tensor]:
    """Each expert's weights after epoch 0 … `epochs`, (epochs + 1, size) float32; a file is read when its turn comes.

    InputError for a file that is no such buffer, for experts of another architecture, and for shorter ones.
    """
    shapes = list(network.shapes.values())
    for file in files:
        for number, expert in enumerate(_experts(file)):
            if len(expert) < epochs + 1:
                raise InputError(
                    f'Expert {number} of "{file}" has {len(expert) - 1} epochs; {epochs} are needed. '
                    f"Use epochs={len(expert) - 1} and a window within it, or longer experts."
                )
            found = [tuple(part.shape) for part in expert[0]]
            if found != shapes:
                raise InputError(
                    f'Expert {number} of "{file}" is another network: its {len(found)} parameters have the shapes {_few(found)}, those of '
                    f"this method's {_few(shapes)} ({len(shapes)}). Give network and width as the experts have them."
                )
            yield torch.stack([torch.cat([part.detach().float().reshape(-1) for part in weights]) for weights in expert[: epochs + 1]])


def _experts(file: Path) -> list[list[list[Tensor]]]:
    try:
        found: Any = torch.load(file, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, UnpicklingError) as error:
        why = (str(error) or "it ends too soon").splitlines()[0][:100]
        raise InputError(f'"{file}" cannot be read as weights ({why}). Copy it anew, or take it away.') from error
    lists = isinstance(found, list) and all(isinstance(one, list) and one and all(isinstance(at, list) for at in one) for one in found)
    if not lists or not all(isinstance(part, Tensor) for one in found for at in one for part in at):
        raise InputError(f'"{file}" is no list of experts of lists of epochs of lists of tensors, as replay buffers are. Take it away.')
    return list(found)


def _few(shapes: Sequence[tuple[int, ...]]) -> str:
    return ", ".join("x".join(map(str, shape)) for shape in shapes[:3]) + (", …" if len(shapes) > 3 else "")
