"""What attacks that search answer: candidates, or why there are none."""

from torch import Tensor

from attacks.inversion.attack import Certificate, Reconstruction
from attacks.inversion.prior import boxed
from attacks.observation import Observation

DID_NOT_FINISH = "The search met no finite objective; counted as a failure."
NOT_FINITE = "The observed gradient is zero or not finite; there is nothing to match."


def candidates(
    seen: Observation,
    inputs: Tensor,
    labels: Tensor | None,
    objective: float,
    seconds: float,
) -> Reconstruction:
    """Return what a search ended at, uncertified."""
    return Reconstruction(
        inputs=boxed(inputs, seen.value_range),
        labels=labels,
        certificate=Certificate.UNCERTIFIED,
        reason="Gradient matching proves nothing; only scoring can tell.",
        objective=objective,
        seconds=seconds,
    )
