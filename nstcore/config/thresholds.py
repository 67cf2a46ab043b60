"""Limits such as ``style_loss > +5%``: what may not happen from one run to another."""

from __future__ import annotations

import difflib
import math
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

COUNTS: Mapping[str, str] = {
    "pairs": "cells that both runs have",
    "identical": "pairs whose pictures are the same to the pixel",
    "broken": "cells that are finished in the baseline only",
    "failed": "cells of the run that failed or diverged",
    "missing": "cells of the run without a record",
    "gone": "cells that only the baseline has",
    "added": "cells that only the run has",
}
"""What is counted, in place of a metric."""

STATISTICS = ("median", "mean", "min", "max", "any")
COMPARE: Mapping[str, Callable[[float, float], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}

_FORM = re.compile(
    r"\s*(?P<name>[A-Za-z]\w*)(?:\s+(?P<statistic>[A-Za-z]\w*))?"
    r"\s*(?P<sign>>=|<=|>|<)\s*(?P<bound>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*(?P<percent>%?)\s*"
)
_EXAMPLE = "write for example `style_loss > +5%`, `ssim any < -0.02` or `failed > 0`"


@dataclass(frozen=True)
class Threshold:
    """A limit on how a metric changes, or on a count.

    Attributes:
        text: as it was given.
        name: a metric, or one of `COUNTS`.
        statistic: of the changes of all pairs, one of `STATISTICS`; ``any`` is exceeded where a single
            pair is beyond the bound.
        sign: ``>``, ``>=``, ``<`` or ``<=``.
        bound: a share where it is relative: 0.05 for 5%.
        relative: whether changes are taken over the baseline's value.
    """

    text: str
    name: str
    statistic: str
    sign: str
    bound: float
    relative: bool

    @property
    def counts(self) -> bool:
        """Whether it is on a count and not on a metric."""
        return self.name in COUNTS

    def beyond(self, value: float) -> bool:
        """Whether a value is beyond the bound."""
        return COMPARE[self.sign](value, self.bound)


def parse_threshold(text: str) -> Threshold:
    """Read ``METRIC [median|mean|min|max|any] > ±N[%]``, or the same of a count without a statistic.

    Raises:
        ValueError: if it is something else; the message says what.
    """
    found = _FORM.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no limit; {_EXAMPLE}")
    name, statistic = found["name"], found["statistic"]
    relative = found["percent"] == "%"
    bound = float(found["bound"])
    if not math.isfinite(bound):
        raise ValueError(f"{text!r}: {found['bound']} is too large a number")
    if name in COUNTS:
        if statistic or relative:
            raise ValueError(f"{text!r}: `{name}` is a count; write for example `{name} > 0`")
    elif statistic and statistic not in STATISTICS:
        close = difflib.get_close_matches(statistic, STATISTICS, n=1)
        meant = f"did you mean `{close[0]}`?" if close else f"there are: {', '.join(STATISTICS)}"
        raise ValueError(f"{text!r}: there is no statistic `{statistic}`; {meant}")
    return Threshold(
        text.strip(),
        name,
        statistic or ("count" if name in COUNTS else "median"),
        found["sign"],
        bound / 100 if relative else bound,
        relative,
    )
