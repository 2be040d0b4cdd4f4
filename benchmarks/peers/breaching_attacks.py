"""breaching's attacks on given updates, in an environment of their own.

As its minimal example does it: a model and a configuration to `prepare_attack`, the
server's payload and the user's update to `reconstruct`. Its settings are its own, but
for the number of iterations; its searches begin where it is told. One update after
the other, for it has no other way.

Its `deepleakage` refuses known labels, and says to set `attack_type=optimization`
then: so it does here.
"""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from benchmarks.peers.asking import obey, telling
from benchmarks.peers.environment import python_of
from benchmarks.victims import (
    CLASSES,
    MEAN,
    SHAPE,
    SMOOTHNESS,
    SPREAD,
    STEP,
    Answer,
    Work,
    apart,
    build,
    load_answer,
    load_work,
    save,
)

REQUIREMENTS = ("hydra-core==1.3.2", "tqdm==4.70.1")
# Without what they ask for: torchvision's own torch is not needed, nor is it small.
BARE = ("breaching==0.1.2", "torchvision==0.28.0", "lpips==0.1.4")
OWN_START = ("linear", "modern")  # no start at all, or a pattern
LBFGS_STEPS = 20  # torch's, inside one of its iterations
LIMIT_S = 600.0
Attacker = Callable[[Work], Answer]
CONFIGURATIONS = {
    "cosine": ("invertinggradients", ()),
    # Its units are those of its standardised images, ours the range of values.
    "alike": (
        "invertinggradients",
        (
            f"regularization.total_variation.scale={SMOOTHNESS * SPREAD}",
            f"optim.step_size={STEP / SPREAD}",
        ),
    ),
    "modern": ("modern", ()),
    "dlg": ("deepleakage", ("attack_type=optimization",)),
    "linear": ("analytic", ()),
}


@contextmanager
def started() -> Iterator[Attacker]:
    """Start breaching; inside, the function given lets it attack.

    Raises:
        MissingError: it cannot be installed; by the function: it failed, or said
            nothing in time.
    """
    python = python_of("breaching", REQUIREMENTS, bare=BARE)
    command = [python, "-P", "-m", "benchmarks.peers.breaching_attacks"]
    with (
        tempfile.TemporaryDirectory() as folder,
        telling(command, limit_s=LIMIT_S) as tell,
    ):

        def attacker(work: Work) -> Answer:
            asked, given = Path(folder) / "work.npz", Path(folder) / "answer.npz"
            save(asked, work)
            tell({"work": str(asked), "out": str(given)})
            return load_answer(given)

        yield attacker


def attack(work: Work) -> Answer:
    """Attack the updates, one after the other."""
    breaching = _imported()
    name, overrides = CONFIGURATIONS[work.attack]
    settings = breaching.get_attack_config(name, list(overrides))
    if "optim" in settings:
        inner = LBFGS_STEPS if settings.optim.optimizer == "L-BFGS" else 1
        settings.optim.max_iterations = -(-work.iterations // inner)
    net = build(work.net, work.model).eval()
    metadata = SimpleNamespace(
        modality="vision",
        task="classification",
        shape=SHAPE,
        classes=CLASSES,
        mean=[MEAN] * 3,
        std=[SPREAD] * 3,
    )
    payload = [
        {
            "parameters": [weight.detach() for weight in net.parameters()],
            "buffers": [],
            "metadata": metadata,
        }
    ]
    loss = torch.nn.CrossEntropyLoss()
    began = time.process_time()
    attacker = breaching.attacks.prepare_attack(net, loss, settings)
    torch.manual_seed(0)  # for starts of its own
    own = work.attack in OWN_START
    found = [
        _rebuilt(attacker, payload, apart(net, flat), labels, start, own=own)
        for flat, labels, start in zip(
            work.gradients, work.labels, work.starts, strict=True
        )
    ]
    return Answer(inputs=np.stack(found), cpu_s=time.process_time() - began)


def _rebuilt(
    attacker: Any,
    payload: list[dict[str, Any]],
    gradient: list[torch.Tensor],
    labels: np.ndarray,
    start: np.ndarray,
    *,
    own: bool,
) -> np.ndarray:
    shared = {
        "gradients": gradient,
        "buffers": None,
        "metadata": {
            "num_data_points": len(labels),
            "labels": torch.from_numpy(labels),
            "local_hyperparams": None,
        },
    }
    begins = {} if own else {"initial_data": torch.from_numpy(start)}
    found, _ = attacker.reconstruct(payload, [shared], {}, **begins)
    return np.asarray(found["data"].detach(), dtype=np.float32).reshape(start.shape)


def _imported() -> Any:
    """Import breaching, whose torchvision may have been built for another torch.

    Its compiled operators do not load then, and none of them is used here, but their
    names must be there when it is imported.
    """
    global _operators
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor a, Tensor b, float c) -> Tensor")
        for name in ("roi_align", "roi_pool", "ps_roi_align", "ps_roi_pool"):
            library.define(f"{name}() -> ()")
            library.define(f"_{name}_backward() -> ()")
        _operators = library  # they are gone with it
    import breaching

    return breaching


_operators: torch.library.Library | None = None

if __name__ == "__main__":
    torch.set_num_threads(1)
    logging.disable(logging.CRITICAL)
    obey(lambda said: save(Path(said["out"]), attack(load_work(Path(said["work"])))))
