"""Differential privacy for federated learning: bounds now, noise and ledger to come.

    clipped = clip_l2(update, 16.0)    # the exact norm is at most 16 after rounding

Clipping is only the first half of a mechanism: without noise there is no epsilon.
"""

from dp.clipping import Clipped, clip_l2

__all__ = ["Clipped", "clip_l2"]
