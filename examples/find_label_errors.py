"""A walk through a real set, SNIPS (what people ask a voice assistant, 7 intents), in search of wrong labels. Nothing is planted.

    python examples/find_label_errors.py          about a minute on one core

The cells (`# %%`) run one by one in an editor or as a notebook (`jupytext --to notebook`). Your own data goes where `sample:snips` stands.
"""

# %% Settings: the numbers that a test makes smaller
import os
from pathlib import Path

import numpy as np

import curate

DATA = os.environ.get("DATA", "sample:snips")
EPOCHS = int(os.environ.get("EPOCHS", "8"))
OUT = Path(os.environ.get("OUT", "label-errors"))

# %% 1. Train once and watch. One run serves all the scores; a second start of this cell finds them on disk and does nothing.
data = curate.load(DATA)
scores = curate.score(data, ["aum", "datamap", "random"], epochs=EPOCHS, out=OUT / "scores")
print(f"{len(data):,} rows, scores: {', '.join(scores.names)}")

# %% 2. Look at the suspects. A low AUM says that other classes had the higher logit for most of the run: an error, or an odd row.
#       In the full run the first ten have two plain errors, bookings of a restaurant that are labelled as questions about the weather.


def show(rows: list[int]) -> None:
    for row in rows:
        print(f"{row:6}  {scores['aum'][row]:6.2f}  {data.label_names[data.labels[row]]:22}  {data.texts(row, row + 1)[0]}")


suspects = np.argsort(scores["aum"])
show(suspects[:10].tolist())

# %% 3. Be fair: as many rows at random. If these looked as odd, the score would be worth nothing.
show(np.argsort(scores["random"])[:10].tolist())

# %% 4. Where do they pile up? A class with many suspects is a rule that annotators read in two ways, rather than ten slips.
worst = suspects[: max(10, len(data) // 100)]
for name, found in zip(data.label_names, np.bincount(data.labels[worst], minlength=len(data.label_names)), strict=True):
    print(f"{name:22}  {found:4} of the {len(worst)} lowest")

# %% 5. Decide with your own eyes. The page shows the suspects with what the model would say: keep, relabel or drop each, and save.
curate.report(scores.path, OUT / "report.html", data=data)
print(f"open {OUT / 'report.html'}")

# %% 6. Or drop the lowest 1 % unseen. `curate compare` says whether that pays on your test set; where few labels are wrong it may not.
kept = curate.select(data, scores, sampler="top", by="aum", budget=0.99)
kept.export(OUT / "cleaned")
print(f"kept {len(kept):,} rows in {OUT / 'cleaned'}")
