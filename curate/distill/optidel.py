"""OptiDEL: new images tiled from the hardest patches of real ones, each of which can be traced to its row.

Yang, Zhang, Tan, Sun & Yan 2024, "Maximizing V-information for Pre-training Superior Foundation Models"; no official code for images.
"""

import math
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import ClassVar, Final, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from curate.disk import write_whole
from curate.distill.evaluation import training_on
from curate.distill.segmenters import SEGMENTERS, checked, find_segmenter
from curate.distill.teachers import TEACHERS, Squeeze, accuracy, logits_of, squeeze
from curate.distill.tilings import framed, tiled
from curate.errors import OptionError, UnknownNameError, did_you_mean
from curate.protocols import Distilled, RealImages
from curate.rng import KeyedRandom

VISITS: Final = 20_000  # rows that the proxy sees in training on a CPU, unless told: it need not be good, only tell hard from easy
LOOKED_AT: Final = 20_000  # rows whose patches are judged on a CPU, unless told
CHUNK: Final = 512  # rows whose patches are kept in a file
SMALL_SIDE: Final = 16  # pixels below which the networks that test the set have half the channels
FLAT: Final = 0.1  # deviation of a patch that shows nothing, where the set's is 1
RANDOM_TILINGS: Final = 200  # images that the made ones are held against, at least

Difficulty = Literal["margin", "loss", "random"]


class OptiDEL:
    """Hard samples: patches of a class's images that a small proxy is least sure of, `tiles` x `tiles` to a new image of that class.

    A segmenter finds the parts of every image (`slic`: superpixels, `regions` of them; `grid`: overlapping windows; FILE.py:Class: your
    own, such as the paper's SAM). What encloses a part is widened to the image's shape, to no less than a tile, and brought to a tile's
    size; patches without contrast show nothing and are left out. `difficulty=margin`, as published: the proxy's logit of the label minus
    the largest other, low is hard; `loss`: its cross entropy. A patch is judged as it will be seen: at a tile's size, filling an image.
    The hardest of a class are taken, the hardest of every row before any row gives a second one, for the paper wants them diverse.
    `skip` leaves out that share of the hardest, which where labels are wrong are the wrong ones. Every tile's row and box are stored.

    The images are harder than `difficulty=random` tilings for the proxy, and both losses are stored. Whether that pays is another question,
    which the table answers. Hard samples pay where data abound (`curate.perceptron`) and, as the paper has it, in self-supervised
    pre-training, where no label has to be recognised. A hundred of them do not teach a classifier: on Fashion-MNIST they reach 5 to 17 %,
    random tilings 29 to 36 and random rows 69 (benchmarks/optidel.py), for a class's hardest patches look like another's.

    The proxy is a `network` of the decoupled distillers', trained `epochs` epochs; `rows` are looked at of each class, drawn by key. Costs
    that training and a forward pass of every patch; memory is a batch's.
    """

    version: ClassVar[int] = 1
    whiten: ClassVar[bool] = False

    def __init__(
        self,
        *,
        segmenter: str = "slic",
        regions: int | None = None,
        difficulty: Difficulty = "margin",
        tiles: int = 2,
        skip: float = 0.0,
        network: str = "convnet",
        epochs: int | None = None,
        rows: int | None = None,
    ) -> None:
        for option, value in (("regions", regions), ("tiles", tiles), ("epochs", epochs), ("rows", rows)):
            if value is not None and value < 1:
                raise OptionError(f"optidel: {option} must be 1 or more, got {value}.")
        if not 0 <= skip < 1:
            raise OptionError(f"optidel: skip is a share of the patches, 0 … below 1; got {skip}.")
        if network not in TEACHERS:
            raise UnknownNameError(f'optidel: no network "{network}".{did_you_mean(network, TEACHERS)} There are: {", ".join(TEACHERS)}.')
        if segmenter not in SEGMENTERS and regions is not None:
            raise OptionError(f'optidel: regions is an option of {" and ".join(SEGMENTERS)}; "{segmenter}" has its own. Leave it out.')
        find_segmenter(segmenter, regions or 1)
        self.segmenter, self.regions, self.difficulty = segmenter, regions, difficulty
        self.tiles, self.skip, self.network, self.epochs, self.rows = tiles, skip, network, epochs, rows

    def identity(self) -> Mapping[str, str | None]:
        """A segmenter of one's own by its class and its file's hash: no path."""
        if self.segmenter in SEGMENTERS:
            return {}
        from curate.plugins import import_file

        _, name, digest = import_file(self.segmenter, "Segmenter")
        return {"segmenter": f"{Path(self.segmenter.rpartition(':')[0]).name}:{name} {digest[:12]}"}

    def settle(self, data: RealImages, ipc: int, minutes: float | None) -> Self:
        """Epochs and rows by the machine and the time at hand; as many rows as there are tiles to fill, at least."""
        side = min(data.images.shape[2:])
        if self.tiles > side // 2:
            raise OptionError(f"optidel: {self.tiles} tiles across {side} pixels leave less than 2 each. Use tiles={max(1, side // 4)}.")
        cpu = data.device.type == "cpu"
        sizes = torch.bincount(data.labels, minlength=data.classes)
        needed = ipc * self.tiles**2
        made = self._with(
            regions=self.regions or (9 if self.segmenter in SEGMENTERS else None),
            epochs=self.epochs or (min(30, max(3, VISITS // len(data.images))) if cpu else 30),
            rows=self.rows or min(int(sizes.max()), max(needed, LOOKED_AT // data.classes if cpu else len(data.images))),
        )
        return made if minutes is None else made._within(60 * minutes, data, needed)

    def _within(self, seconds: float, data: RealImages, needed: int) -> Self:
        """As many epochs as fit into half of the time, as many rows as fit into what is left; what the user named stays."""
        an_epoch, a_row = self._seconds(data)
        epochs = self._epochs if self.epochs is None else min(self._epochs, max(1, int(seconds / 2 / an_epoch)))
        left = seconds - epochs * an_epoch
        rows = min(self._rows, max(needed, int(left / a_row / data.classes)))
        if (epochs, rows) != (self._epochs, self._rows):
            data.progress.note(
                f"optidel: {epochs} of {self._epochs} epochs of the proxy and {rows:,} of {self._rows:,} rows a class fit into "
                f"{seconds / 60:g} minutes."
            )
        return self._with(epochs=epochs, rows=rows)

    def cost(self, data: RealImages, ipc: int) -> tuple[float, int]:
        an_epoch, a_row = self._seconds(data)
        looked_at = sum(min(self._rows, int(size)) for size in torch.bincount(data.labels, minlength=data.classes))
        values = data.images[0].numel() * 100 * CHUNK  # what the proxy's first layers make of a batch
        return self._epochs * an_epoch + looked_at * a_row, 4 * values

    def distill(self, data: RealImages, ipc: int, rng: KeyedRandom) -> Distilled:
        recipe = Squeeze(self._epochs)
        with data.progress.task("train the proxy", self._epochs, "epochs") as task:
            proxy = squeeze(self.network, data, recipe, rng.seed, task)
        patches = self._judged(data, proxy, rng)
        chosen = self._hardest(data, patches, ipc, patches.hardness)
        images, labels = chosen.images(data), np.repeat(np.arange(data.classes), ipc)
        return Distilled(
            images=images.cpu().numpy(),
            labels=labels,
            training=training_on(data.device.type, "convnet", _width(data)),
            tiles=chosen.sources(data),
            facts=self._facts(data, proxy, patches, images, labels, rng),
        )

    def _judged(self, data: RealImages, proxy: nn.Module, rng: KeyedRandom) -> "_Patches":
        """All patches of the rows that are looked at, file by file."""
        places = self._drawn(data, rng)
        parts = []
        with data.progress.task("judge patches", len(places)) as task:
            for first in range(0, len(places), CHUNK):
                some = places[first : first + CHUNK]
                path = data.folder / "patches" / f"{first // CHUNK:05d}.safetensors"
                if not path.is_file():
                    write_whole(path, partial(save_file, self._judge(data, proxy, some, rng)))
                parts.append(load_file(str(path)))
                task.advance(len(some))
        boxes, hardness = (torch.cat([part[name] for part in parts]) for name in ("boxes", "hardness"))
        return _Patches(places, boxes, hardness.numpy().astype(np.float64))

    def _judge(self, data: RealImages, proxy: nn.Module, places: Tensor, rng: KeyedRandom) -> dict[str, Tensor]:
        """Boxes, (n, parts, 4), and how hard each is, (n, parts); NaN where it is no patch."""
        pixels = data.transform.invert(data.images[places])
        found = checked(find_segmenter(self.segmenter, self.regions or 1).boxes(pixels), pixels, self.segmenter)
        n, parts, _ = found.shape
        there = (found[:, :, 2] > 0) & (found[:, :, 3] > 0)
        boxes = framed(found, pixels.shape[2], pixels.shape[3], self.tiles)
        owner = torch.arange(n, device=pixels.device).repeat_interleave(parts)
        labels = data.labels[places].repeat_interleave(parts)
        hard = []
        for some in torch.split(torch.arange(n * parts, device=pixels.device), CHUNK):
            shown = tiled(pixels, _filled(owner[some], self.tiles), _filled(boxes.flatten(0, 1)[some], self.tiles))
            seen = data.transform.apply(shown)
            hardness = self._hardness(logits_of(proxy, seen), labels[some], places[owner[some]], some % parts, rng)
            hardness[seen.mean(1).flatten(1).std(1, correction=0) < FLAT] = math.nan
            hard.append(hardness)
        hardness = torch.cat(hard).view(n, parts).masked_fill(~there, math.nan)
        return {"boxes": boxes.cpu(), "hardness": hardness.float().cpu()}

    def _hardness(self, logits: Tensor, labels: Tensor, places: Tensor, parts: Tensor, rng: KeyedRandom) -> Tensor:
        if self.difficulty == "loss":
            return nn.functional.cross_entropy(logits, labels, reduction="none")
        if self.difficulty == "margin":
            own = logits.gather(1, labels[:, None])[:, 0]
            others = logits.scatter(1, labels[:, None], -math.inf).amax(1)
            return others - own
        keys = (places * 1_000_003 + parts).cpu().numpy()
        return torch.from_numpy(rng.child("random").uniform(keys)).to(logits.device).float()

    def _hardest(self, data: RealImages, patches: "_Patches", ipc: int, hardness: NDArray[np.float64]) -> "_Patches":
        """ipc x tiles² patches of every class, class by class, image by image: image j has every ipc-th in order of hardness."""
        t = self.tiles**2
        labels = data.labels.cpu().numpy()[patches.places.cpu().numpy()]
        picked = []
        for code in range(data.classes):
            order = _in_order(np.where(labels[:, None] == code, hardness, np.nan), self.skip)
            if len(order) < ipc * t:
                raise OptionError(
                    f"optidel: class {code} has {len(order)} patches that show something, but --ipc {ipc} of {t} tiles asks for {ipc * t}. "
                    "Use a smaller --ipc, fewer tiles, or more regions or rows."
                )
            picked.append(order[: ipc * t].reshape(t, ipc).T)
        which = np.concatenate(picked)  # (m, t), of the flat patches
        parts = hardness.shape[1]
        boxes = patches.boxes.flatten(0, 1)[torch.from_numpy(which)]
        return _Patches(patches.places[torch.from_numpy(which // parts).to(data.device)], boxes, hardness.reshape(-1)[which])

    def _facts(
        self, data: RealImages, proxy: nn.Module, patches: "_Patches", images: Tensor, labels: NDArray[np.int64], rng: KeyedRandom
    ) -> dict[str, float | int | str]:
        """What the proxy makes of the images and of tilings drawn at random from the same patches."""
        many = max(1, min(RANDOM_TILINGS // data.classes, self._tilings_there(data, patches)))
        keys = np.arange(patches.hardness.size)
        drawn = np.where(np.isnan(patches.hardness), np.nan, rng.child("tilings").uniform(keys).reshape(patches.hardness.shape))
        random = self._hardest(data, patches, many, drawn).images(data)
        ours = _losses(proxy, data, images, torch.from_numpy(labels))
        theirs = _losses(proxy, data, random, torch.arange(data.classes).repeat_interleave(many))
        above = (ours.view(data.classes, -1, 1) > theirs.view(data.classes, 1, -1)).double().mean()
        seen = patches.places
        return {
            "patches": int((~np.isnan(patches.hardness)).sum()),
            "proxy_accuracy": round(accuracy(proxy, data.images[seen], data.labels[seen]), 4),
            "proxy_loss": round(float(ours.mean()), 4),
            "proxy_loss_of_random_tilings": round(float(theirs.mean()), 4),
            "harder_than_random_tilings": round(float(above), 4),
        }

    def _tilings_there(self, data: RealImages, patches: "_Patches") -> int:
        """Images that the patches of the poorest class suffice for."""
        there = torch.from_numpy((~np.isnan(patches.hardness)).sum(1)).to(data.device)
        counts = torch.zeros(data.classes, dtype=there.dtype, device=data.device).index_add_(0, data.labels[patches.places], there)
        return int((1 - self.skip) * int(counts.min())) // self.tiles**2

    def _drawn(self, data: RealImages, rng: KeyedRandom) -> Tensor:
        """The rows that are looked at: places among the images, ascending."""
        labels = data.labels.cpu().numpy()
        keys = rng.child("rows").uniform(data.rows)
        picked = []
        for code in range(data.classes):
            members = np.flatnonzero(labels == code)
            picked.append(members[np.argsort(keys[members], kind="stable")[: self._rows]])
        return torch.from_numpy(np.sort(np.concatenate(picked))).to(data.device)

    def _seconds(self, data: RealImages) -> tuple[float, float]:
        """Of an epoch of the proxy, and of judging the patches of a row; measured on a batch."""
        module = TEACHERS[self.network](tuple(data.images.shape[1:]), data.classes).to(data.device)
        rows = torch.arange(min(128, len(data.images)), device=data.device)
        training = judging = 0.0
        for timed in (0, 1):
            started = time.perf_counter()
            nn.functional.cross_entropy(module.train()(data.images[rows]), data.labels[rows]).backward()  # type: ignore[no-untyped-call]
            between = time.perf_counter()
            self._judge(data, module.eval(), rows[:32], KeyedRandom(0, "time"))
            training += timed * (between - started) / len(rows)
            judging += timed * (time.perf_counter() - between) / len(rows[:32])
        return training * len(data.images), judging

    def _with(self, **changed: object) -> Self:
        from curate.plugins import options_of

        return type(self)(**(options_of(self) | changed))

    @property
    def _epochs(self) -> int:
        assert self.epochs is not None, "settled"
        return self.epochs

    @property
    def _rows(self) -> int:
        assert self.rows is not None, "settled"
        return self.rows


class _Patches:
    """Patches: whose they are (places among the images), where, and how hard; what was looked at, or what was chosen, (m, t)."""

    def __init__(self, places: Tensor, boxes: Tensor, hardness: NDArray[np.float64]) -> None:
        self.places, self.boxes, self.hardness = places, boxes, hardness

    def images(self, data: RealImages) -> Tensor:
        """Of chosen patches, (m, t): the images, in pixels."""
        owners, owner = torch.unique(self.places, return_inverse=True)
        return tiled(data.transform.invert(data.images[owners]), owner, self.boxes.to(owner.device))

    def sources(self, data: RealImages) -> NDArray[np.int64]:
        """Of chosen patches: source row, top, left, height and width, (m, t, 5)."""
        return np.concatenate([data.rows[self.places.cpu().numpy()][:, :, None], self.boxes.numpy()], 2)


def _in_order(hardness: NDArray[np.float64], skip: float) -> NDArray[np.int64]:
    """Flat indices of the patches, (n, parts), hardest first, without the `skip` hardest and NaN; each row's first before any's second."""
    flat = hardness.reshape(-1)
    ranked = np.argsort(-flat, kind="stable")[: (~np.isnan(flat)).sum()]
    ranked = ranked[math.floor(skip * len(ranked)) :]
    kept = np.full(len(flat), -np.inf)
    kept[ranked] = flat[ranked]
    by_row = kept.reshape(hardness.shape)
    turn = np.argsort(np.argsort(-by_row, 1, kind="stable"), 1, kind="stable").reshape(-1)
    return ranked[np.argsort(turn[ranked], kind="stable")]


def _width(data: RealImages) -> int:
    """Channels of the networks that test the set."""
    if data.device.type != "cpu":
        return 128
    return 16 if min(data.images.shape[2:]) < SMALL_SIDE else 32


def _filled(values: Tensor, across: int) -> Tensor:
    """Every value once a tile: (b, …) to (b, across², …)."""
    return values[:, None].expand(len(values), across**2, *values.shape[1:])


def _losses(proxy: nn.Module, data: RealImages, images: Tensor, labels: Tensor) -> Tensor:
    return nn.functional.cross_entropy(logits_of(proxy, data.transform.apply(images)), labels.to(data.device), reduction="none")
