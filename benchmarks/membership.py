"""Membership inference and audits: how fast, who sees what, how tight, what is caught.

shadow_speed      shadow models as one stack, beside plain loops
default_attack    all attacks on the same models: four sets, five seeds
views             attack by view by protection, by whole audits
tightness         audits of one run, beside the epsilon that is true
planted           bugs that were planted, and caught
"""

from __future__ import annotations

import time
from collections.abc import Callable

from benchmarks import (
    default_attack,
    four_sets,
    planted,
    shadow_speed,
    tightness,
    views,
)

Part = Callable[[], dict[str, float]]


def measure(quick: bool) -> dict[str, float]:
    """Print every table; return all figures."""
    names = four_sets.present()
    parts: dict[str, Part] = {
        "shadow models, trained": lambda: shadow_speed.measure(quick),
        "attacks at 16 shadows": lambda: default_attack.measure(names, quick),
        "attack by view by protection": lambda: views.measure(names, quick),
        "tightness": lambda: tightness.measure(quick),
        "planted bugs": lambda: planted.measure(quick),
    }
    figures: dict[str, float] = {"sets": float(len(names))}
    for title, part in parts.items():
        print(f"\n== {title}", flush=True)
        began = time.perf_counter()
        figures |= part()
        print(f"({time.perf_counter() - began:.0f} s)", flush=True)
    return figures
