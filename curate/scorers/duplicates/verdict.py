"""What every scorer of duplicates says of a row, once the groups are known."""

import numpy as np

from curate.protocols import Columns, Rows


def verdict(rows: Rows, known: Rows, component: Rows) -> Columns:
    """`score` is the size of the row's group, `component` its lowest row, `is_duplicate` whether the row is another of it.

    `known` are all rows that were compared, ascending, and `component` the groups that they are in; any other row is on its own.
    """
    _, place, sizes = np.unique(component, return_inverse=True, return_counts=True)
    own, size = rows.copy(), np.ones(len(rows), np.int64)
    if len(known):
        at = np.minimum(np.searchsorted(known, rows), len(known) - 1)
        found = known[at] == rows
        own[found] = component[at[found]]
        size[found] = sizes[place[at[found]]]
    return {"score": size.astype(np.float32), "component": own, "is_duplicate": own != rows}
