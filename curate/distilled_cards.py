"""The dataset card of a distilled set: what it is, what it is worth, and code that trains on it with nothing but torch and datasets."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

from curate.cards import plain, told

Lines = list[str]

LOADING: Final = """\
import json
import math

import torch
from datasets import load_dataset
from torch import nn

FOLDER = "."  # where this card lies
train = load_dataset("parquet", data_files=f"{FOLDER}/data/*.parquet", split="train").with_format("torch")
images = train["image"][:].permute(0, 3, 1, 2)  # (rows, channels, height, width), in the source's pixels
"""
EXPANDING: Final = """\
import json
import math

import torch
from torch import nn

FOLDER = "."  # where this card lies
"""
ORIGINS_SAID: Final[Mapping[str, str]] = {
    "source_rows": "`source_rows` are the source's rows of its tiles, line by line",
    "source_ids": "`source_ids` their ids",
    "source_boxes": "`source_boxes` top, left, height and width there",
}
READING: Final = """\


def tensors(path):
    content = open(path, "rb").read()
    size = int.from_bytes(content[:8], "little")
    head = {name: about for name, about in json.loads(content[8 : 8 + size]).items() if name != "__metadata__"}
    kinds = {"U8": torch.uint8, "I8": torch.int8, "F32": torch.float32}
    found = {}
    for name, about in head.items():
        start, stop = about["data_offsets"]
        values = bytearray(content[8 + size + start : 8 + size + stop])
        found[name] = torch.frombuffer(values, dtype=kinds[about["dtype"]]).view(about["shape"])
    return found

"""
EXPANDED: Final = """\

stored = tensors(f"{FOLDER}/data/compensated.safetensors")
real = stored["originals"].float()  # (classes, k, channels, height, width), in the source's pixels
low, high = (stored[name].view(-1, 1, 1) for name in ("low", "high"))
moved = stored["compensators"].float() * stored["scales"][:, :, None, None, None]
added = torch.clamp(real + moved[:, None], low, high)  # a compensator serves all classes
images = torch.cat([real[None], added]).transpose(0, 1).flatten(0, 2)
y = torch.arange(len(real)).repeat_interleave(len(images) // len(real))
"""
WHITENING: Final = """\

whitening = tensors(f"{FOLDER}/transform.safetensors")


def prepared(pixels):
    return ((pixels.flatten(1) / 255 - whitening["mean"]) @ whitening["forward"]).view(pixels.shape)
"""
TRAINING: Final = """\


def trained(seed):
    torch.manual_seed(seed)
    network = build()
    optimizer = torch.optim.SGD(network.parameters(), lr={lr!r}, momentum={momentum!r}, weight_decay={weight_decay!r})
    order = iter(())
    for step in range({steps}):
        rows = next(order, None)
        if rows is None:
            order = iter(torch.randperm(len(x)).split({batch}))
            rows = next(order)
        if step == {half}:
            optimizer.param_groups[0]["lr"] /= 10
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(x[rows]), y[rows]).backward()
        optimizer.step()
    return network


networks = [trained(seed) for seed in {seeds}]


def accuracy(pixels, labels):
    \"\"\"The mean accuracy of the networks on test images (rows, height, width, channels) of the source.\"\"\"
    with torch.no_grad():
        test = prepared(pixels.permute(0, 3, 1, 2).float())
        return sum((network(test).argmax(1) == labels).double().mean().item() for network in networks) / len(networks)
"""


def distilled_card(
    summary: Mapping[str, Any],
    dataset: Mapping[str, Any],
    names: Sequence[str],
    transform: Mapping[str, Sequence[float]],
    seeds: Sequence[int],
    command: str,
) -> str:
    """README.md with the hub's YAML head. `transform`: its flat tensors; `seeds`: those of the networks' first weights."""
    parts = [_head(summary, dataset), _worth(summary), _use(summary, transform, seeds), _made(summary, dataset, names, command)]
    return "\n".join(line for part in parts for line in part) + "\n"


def snippet(summary: Mapping[str, Any], transform: Mapping[str, Sequence[float]], seeds: Sequence[int]) -> str:
    """The card's code: it leaves `networks` and `accuracy(pixels, labels)` behind."""
    training = summary["training"]
    labels = 'y = train["soft_label"][:]' if summary["soft"] else 'y = train["label"][:]'
    scale = WHITENING if summary["whitened"] else _standardising(transform)
    loop = TRAINING.format(**{**training, "half": training["steps"] // 2, "seeds": list(seeds)})
    reading = READING if summary["whitened"] or _is_compact(summary) else ""
    opening = f"{EXPANDING}{reading}{EXPANDED}" if _is_compact(summary) else f"{LOADING}{labels}\n{reading}"
    return f"{opening}{scale}\n\nx = prepared(images)\n\n\n{_network(summary)}{loop}"


def _is_compact(summary: Mapping[str, Any]) -> bool:
    """Whether the folder holds what the images are expanded from, and not these."""
    return bool(summary.get("stored")) and summary["stored"]["images"] < summary["images"]


def _standardising(transform: Mapping[str, Sequence[float]]) -> str:
    mean, deviation = ([float(value) for value in transform[name]] for name in ("mean", "deviation"))
    wide = "torch.tensor({}).view(1, -1, 1, 1)"
    return f"\n\ndef prepared(pixels):\n    return (pixels - {wide.format(mean)}) / {wide.format(deviation)}\n"


def _network(summary: Mapping[str, Any]) -> str:
    height, width, channels = summary["shape"]
    training, classes = summary["training"], summary["classes"]
    w = training["width"]
    if training["network"] == "mlp":
        sizes = [channels * height * width, w, w]
        hidden = ", ".join(f"nn.Linear({a}, {b}), nn.ReLU()" for a, b in pairwise(sizes))
        return f"def build():\n    return nn.Sequential(nn.Flatten(), {hidden}, nn.Linear({w}, {classes}))\n"
    return (
        "def build():\n"
        f"    blocks, padding, sides = [], {summary['padding']}, [{height}, {width}]\n"
        f"    for block in range({summary['depth']}):\n"
        f"        before, padding = ({channels}, padding) if block == 0 else ({w}, 1)\n"
        "        sides = [(side + 2 * padding - 2) // 2 for side in sides]\n"
        f"        blocks += [nn.Conv2d(before, {w}, 3, padding=padding), nn.GroupNorm({w}, {w}), nn.ReLU(), nn.AvgPool2d(2)]\n"
        f"    return nn.Sequential(*blocks, nn.Flatten(), nn.Linear({w} * math.prod(sides), {classes}))\n"
    )


def _head(summary: Mapping[str, Any], dataset: Mapping[str, Any]) -> Lines:
    height, width, channels = summary["shape"]
    rows = ["configs:", "- config_name: default", "  data_files:", "  - split: train", "    path: data/train-*.parquet"]
    return [
        "---",
        *([] if _is_compact(summary) else rows),
        "size_categories:",
        f"- {'n<1K' if summary['images'] < 1000 else '1K<n<10K' if summary['images'] < 10_000 else '10K<n<100K'}",
        "tags:",
        "- curate",
        "- dataset-distillation",
        "---",
        "",
        "# A distilled set made by curate",
        "",
        f"{summary['images']:,} synthetic images, {summary['ipc']} of each class, in place of the {dataset['rows']:,} rows of the dataset "
        f"with content fingerprint `{dataset['fingerprint']}`. The licence and terms of the source apply.",
        "",
        *(_expansion(summary["stored"]) if _is_compact(summary) else []),
        f"`image` is a float32 array, {height} x {width} x {channels}, in the source's pixel units, not clipped; `label` the class"
        + ("; `soft_label` the learned probabilities of all classes" if summary["soft"] else "")
        + (f". Each image is cut from others of its class: {_origins(summary['origins'])}" if summary["origins"] else "")
        + ". `transform.safetensors` is what networks were trained through, `grid.png` shows the images.",
        "",
        "![the images, a line a class](grid.png)",
        "",
    ]


def _origins(names: Sequence[str]) -> str:
    return ", ".join(ORIGINS_SAID[name] for name in names)


def _expansion(stored: Mapping[str, int]) -> Lines:
    return [
        f"The folder holds {stored['images']:,} of them and {stored['bytes']:,} bytes, label bytes 0: "
        "`data/compensated.safetensors` has real images and compensators, each of which is added to an image of every class, "
        "and no labels, since an image's place says its class. `curate.load(FOLDER)` and `curate export FOLDER` expand it to rows "
        "of `image` and `label`; so does the code below.",
        "",
    ]


def _worth(summary: Mapping[str, Any]) -> Lines:
    lines = [
        "## What it is worth",
        "",
        f"Test accuracy of fresh networks, {summary['training']['steps']:,} steps each, mean and 95 % interval over "
        f"{max((len(one['accuracy']['each']) for one in summary['results']), default=0)} seeds; {summary['test']['rows']:,} test rows.",
        "",
        "| trained on | labels | network | rows | bytes | accuracy % |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for one in summary["results"]:
        cells = [one["set"], one["labels"], one["network"], f"{one['rows']:,}", f"{one['bytes']:,}", _percent(one["accuracy"])]
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]


def _use(summary: Mapping[str, Any], transform: Mapping[str, Sequence[float]], seeds: Sequence[int]) -> Lines:
    if summary["training"]["network"] not in ("convnet", "mlp"):
        return []
    kind = "soft" if summary["soft"] else "hard"  # as the code below trains
    found = next((one for one in summary["results"] if one["set"] == "distilled" and one["labels"] == kind), None)
    reached = f" It reaches the {_percent(found['accuracy'])} % of the table." if found and not summary["training"]["augment"] else ""
    rate = f" The learned rate is {summary['rate']:.6g}." if summary["rate"] is not None else ""
    head = f"With nothing but `torch` and `datasets`; `accuracy(pixels, labels)` tests.{reached}{rate}"
    return ["## How to train on it", "", head, "", "```python", snippet(summary, transform, seeds).rstrip(), "```", ""]


def _made(summary: Mapping[str, Any], dataset: Mapping[str, Any], names: Sequence[str], command: str) -> Lines:
    options = ", ".join(plain(f"{name}={value}") for name, value in summary["options"].items())
    rows = {
        "method": f"`{summary['method']}` {options}",
        "classes": ", ".join(plain(name) for name in names[:20]) + (", …" if len(names) > 20 else ""),
        "seed": summary["seed"],
        "whitened": "ZCA" if summary["whitened"] else "no, standardised by channel",
        "recipe": ", ".join(f"{name} {value}" for name, value in summary["training"].items() if value != ""),
        **({"found": plain(", ".join(told(summary["facts"])))} if summary["facts"] else {}),
        **({"learned rate": f"{summary['rate']:.6g}"} if summary["rate"] is not None else {}),
    }
    lines = ["## How it was made", "", "| | |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in rows.items()), ""]
    return [*lines, *(["```", command, "```", ""] if command and "`" not in command else [])]


def _percent(estimate: Mapping[str, Any]) -> str:
    mean = f"{100 * estimate['mean']:.1f}"
    return mean if estimate["low"] is None else f"{mean} ± {50 * (estimate['high'] - estimate['low']):.1f}"
