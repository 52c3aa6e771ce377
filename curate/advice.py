"""What an advice says to a person: the laws, the best share of each policy, and what to keep."""

from collections.abc import Mapping
from typing import Any

from curate.terminal import columns


def advice_lines(found: Mapping[str, Any], picture: object) -> str:
    """The fitted laws, a line a policy, and what follows, or why nothing does."""
    lines = [f"{found['rows']:,} rows; your compute: {found['visits']:,.0f} visits of a row, {found['epochs']:,.1f} epochs of all of them"]
    for name, curve in found["curve"].items():
        slope = f"error ∝ rows^{_between(curve['slope'], '.2f')}"
        lines.append(
            f"more rows: by the {name} law {slope}, so that twice as many would give an error of {_error(curve['error_on_twice'])}"
        )
    check = found["check"]
    if check is not None:
        told = f"from up to {check['up_to']:.0%} of the rows alone it foretells {_error(check['foretold'])} on all of them"
        lines.append(f"the power law, checked: {told}; measured were {100 * check['measured']:.1f} %")
    if found["refused"] is not None:
        return "\n".join([*lines, "", f"No advice: {found['refused']}"])
    law = found["law"]
    lines.append(
        f"more epochs: a row seen again is worth half as much after {_between(law['tau'], '.1f')} epochs; b {_between(law['b'], '.3f')}, "
        f"floor {_error(law['floor'])}; the law misses the measured errors by {100 * law['misfit']:.1f} points"
    )
    rows = [
        [
            one["policy"],
            "" if one["keep"] is None else f"{_between(one['keep'], '.0%')}",
            "" if one["keep"] is None else _error(one["error"]),
            "" if one["keep"] is None else _error(one["error_on_everything"]),
            one["verdict"],
        ]
        for one in found["policies"]
    ]
    if rows:
        lines += ["", columns(rows, ["policy", "best share", "error there", "error on everything", "verdict"])]
    lines += [f'"{one["policy"]}": {one["why"]}' for one in found["policies"] if "why" in one]
    lines += ["", _advised(found)]
    if found["far"]:
        lines.append("Your compute is more than ten times away from what was measured, and laws bend: compare once nearer to it.")
    return "\n".join([*lines, *([f"wrote {picture}"] if picture is not None else [])])


def _advised(found: Mapping[str, Any]) -> str:
    advice = found["advice"]
    if not found["policies"]:
        return "No advice: there is no selection among the arms, only random rows, and of those more are always better."
    if advice is None:
        return (
            f"Keep everything, to be safe: no part of the rows is surely better.{_cheaper(found)} More seeds, more sizes, or a "
            "comparison of other --steps would narrow the intervals."
        )
    if advice["gain"] is None:
        return f"Keep everything: at this compute no policy that was measured gains by leaving rows out.{_cheaper(found)}"
    keep, gain = advice["keep"], advice["gain"]
    return (
        f"Keep about {keep['value']:.0%} by {advice['policy']} ({keep['low']:.0%} to {keep['high']:.0%}): "
        f"{100 * gain['value']:.1f} points less error than everything ({100 * gain['low']:.1f} to {100 * gain['high']:.1f})."
    )


def _cheaper(found: Mapping[str, Any]) -> str:
    """What would do where rows cost something: the policy that needs the fewest, and random rows beside it."""
    enough = {"random rows": found["random"]["enough"]} | {one["policy"]: one["enough"] for one in found["policies"]}
    least = min((name for name, share in enough.items() if share is not None), key=lambda name: (enough[name], name), default=None)
    if least is None:
        return " Any smaller share may cost more than a point of error."
    random = enough["random rows"]
    beside = f" (of random rows: {'everything' if random is None else f'{random:.0%}'})" if least != "random rows" else ""
    return f" Where rows are dear: {enough[least]:.0%} by {least} is sure to cost at most a point of error{beside}."


def _between(found: Mapping[str, float], form: str) -> str:
    return f"{found['value']:{form}} [{found['low']:{form}}, {found['high']:{form}}]"


def _error(found: Mapping[str, float]) -> str:
    return f"{100 * found['value']:.1f} % [{100 * found['low']:.1f}, {100 * found['high']:.1f}]"
