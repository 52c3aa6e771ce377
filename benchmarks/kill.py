"""Kill -9 at twenty random instants of `curate score`, resumed each time: is the final store byte for byte that of an undisturbed run?

    python benchmarks/kill.py [kills]

Every kill falls at a uniformly drawn share of what an undisturbed run takes; then the same command goes on, in the same folder
until it is done, in a new one after that. Everything but log.jsonl is compared.
"""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SCORERS = ("aum", "datamap", "el2n", "entropy", "forgetting", "tdds")
ARGUMENTS = ["score", "sample:digits", "--limit", "600", "--epochs", "12", "--shard-rows", "64", "--batch-size", "32", "--quiet"]


def start(out: Path) -> "subprocess.Popen[bytes]":
    asked = [word for name in SCORERS for word in ("--scorer", name)]
    command = [sys.executable, "-c", "from curate.cli import main; main()", *ARGUMENTS, *asked, "--out", str(out)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"})


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file() and p.name != "log.jsonl"}


def state_of(out: Path) -> str:
    """Where the kill fell."""
    epochs, shards = len(list(out.glob("runs/*/dynamics/*.arrow"))), sum(len(list(out.glob(f"{name}/*.arrow"))) for name in SCORERS)
    return f"{epochs} epochs, {len(list(out.glob('runs/*/eval/*.arrow')))} clean passes, {shards} score shards"


def main(kills: int) -> int:
    rng = random.Random(0)
    with tempfile.TemporaryDirectory() as place:
        started = time.monotonic()
        assert start(Path(place) / "undisturbed").wait() == 0
        whole, seconds = contents(Path(place) / "undisturbed"), time.monotonic() - started
        print(f"undisturbed: {len(whole)} files, {sum(map(len, whole.values())):,} bytes, {seconds:.1f} s")
        stores, done = [Path(place) / "killed-0"], 0
        while done < kills:
            process, after = start(stores[-1]), rng.uniform(0, seconds)
            try:
                process.wait(after)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
                done += 1
                print(f"kill {done:2d} after {after:5.2f} s: {state_of(stores[-1])}")
                continue
            assert process.returncode == 0
            stores.append(Path(place) / f"killed-{len(stores)}")
        for store in stores:
            assert start(store).wait() == 0
        different = {name for store in stores for name in {*whole, *contents(store)} if whole.get(name) != contents(store).get(name)}
        print(f"{done} kills over {len(stores)} stores: {'all byte-identical' if not different else f'DIFFERENT: {sorted(different)}'}")
        return bool(different)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 20))
