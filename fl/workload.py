"""What attacks on a model of some size cost, and what is left out of an audit for it.

Costs are estimates in seconds of one core: counts of operations times fixed rates, no
clock, so what is measured is the same on every machine.  The rates are rounded from
runs on one core of a virtual machine; ``attacks.core_seconds`` is compared with them.
Nothing is made smaller in silence: each method returns the sentence that the page and
``--dry-run`` show beside what it allows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fl.config import Config
from fl.federation import Federation
from fl.inversion import MATCHED_RECORDS
from fl.models import build
from fl.protection import Protection
from fl.stages.setting import (
    EFFORT,
    KEPT_ROUNDS,
    MATCHED_BATCHES,
    effort,
    matched_every,
)

# Per multiplication of a forward pass: one record and iteration of gradient matching,
# by all of its attacks; one record in one pass of training a shadow, without noise and
# with noise from each record's own gradient.
MATCH_S, SHADOW_S, NOISED_SHADOW_S = 5e-9, 2e-10, 6e-10
# Per parameter and client of one played round: in the clear or masked, or encrypted,
# where a simulation makes a context for each ciphertext.
ROUND_S, ENCRYPTED_ROUND_S = 2e-7, 1.6e-6
# Per parameter, record and vector: an update beside a record's gradient.
ALIGN_S = 2e-10
# Members of a run that attacks on updates are asked about, records of the population
# beside them, and how many of these have their gradients made, at most.
MEMBERS, POPULATION, GRADIENTS = 1000, 500, 200
# The worst case starts from two checkpoints; a round is looked at in some three ways.
CHECKPOINTS, LOOKS = 2, 3
# Fewer victims than these make no sample.
VICTIMS_MIN = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class WorstCase:
    """What of the worst case is played under one protection.

    Attributes:
        victims: of each view.
        batches: records a client.
        why: what was left out, in a sentence; "" if nothing was.
    """

    victims: int
    batches: tuple[int, ...]
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """The sizes that decide what attacks cost.

    Attributes:
        config: the resolved configuration.
        parameters: of the model.
        products: multiplications of a forward pass over one record.
        records: that all clients train on.
    """

    config: Config
    parameters: int
    products: int
    records: int

    @property
    def core_seconds(self) -> float:
        """Return what one piece of work may cost, by profile."""
        return self.config.attacks.core_seconds * EFFORT[self.config.profile][0]

    def worst_case(self, protection: Protection) -> WorstCase:
        """Return how many worst-case rounds may be played, at least two at one size.

        Victims go first, the largest batches then.
        """
        wanted, _ = effort(self.config)
        batches = tuple(sorted(self.config.attacks.batches))
        most = int(self.core_seconds / self._round_s(protection)) // CHECKPOINTS
        if wanted * len(batches) <= most:
            return WorstCase(
                victims=wanted, batches=self.config.attacks.batches, why=""
            )
        victims = min(wanted, max(VICTIMS_MIN, most // len(batches)))
        kept = batches[: max(1, most // victims)]
        cost = self._round_s(protection) * CHECKPOINTS * wanted * len(batches)
        why = (
            f"worst case under {protection.name}: {victims} of {wanted} victims a "
            f"view, batches {list(kept)} of {list(batches)}: a "
            f"{self._limit('all of them', cost)}"
        )
        return WorstCase(victims=victims, batches=kept, why=why)

    def matching_in_run(self) -> str:
        """Say why the run's messages are not searched, "" if they are."""
        rounds = min(KEPT_ROUNDS, self.config.training.rounds)
        searches = self.config.repeats * rounds * MATCHED_RECORDS
        return self._matching(searches, "the run's messages")

    def matching_in_worst_case(self, protection: Protection) -> str:
        """Say why the worst case under ``protection`` is not searched, "" if it is."""
        played = self.worst_case(protection)
        records = sum(sorted(played.batches)[:MATCHED_BATCHES])
        victims = -(-played.victims // matched_every(played.victims))
        searches = victims * LOOKS * records
        return self._matching(searches, "the worst case")

    def shadows(self, protection: Protection) -> str:
        """Say why shadow models of this protection are left out, "" if not."""
        training, noise = self.config.training, protection.example
        seen = float(self.records * training.local_epochs)
        if noise is not None:
            clients = self.config.federation.clients
            seen = noise.settings.steps * noise.settings.batch_size * clients
        rate = SHADOW_S if noise is None else NOISED_SHADOW_S
        models = self.config.attacks.shadows
        cost = rate * self.products * seen * training.rounds * models
        if cost <= self.core_seconds:
            return ""
        under = f" with noise per {protection.unit}" if protection.unit else ""
        return f"shadow models{under}: a {self._limit(f'{models} of them', cost)}"

    def updates(self) -> str:
        """Say why updates are not asked about membership, "" if they are."""
        rounds = min(KEPT_ROUNDS, self.config.training.rounds)
        # Members, at most twice as many others, and the population.
        records = 3 * min(self.records, MEMBERS) + POPULATION
        vectors = self.config.federation.cohort + GRADIENTS
        cost = ALIGN_S * self.parameters * records * vectors * rounds
        cost *= self.config.repeats
        if not self.config.attacks.federated or cost <= self.core_seconds:
            return ""
        where = "membership attacks on updates"
        return f"{where}: a {self._limit('them', cost)}"

    def said(self, protections: Sequence[Protection]) -> Iterator[str]:
        """Yield what an audit of these protections leaves out, before it is run."""
        told: dict[str, None] = {}
        for one in protections:
            told |= dict.fromkeys(
                (
                    self.worst_case(one).why,
                    self.matching_in_run(),
                    self.matching_in_worst_case(one),
                    self.shadows(one),
                    self.updates(),
                )
            )
        return (why for why in told if why)

    def _matching(self, searches: int, where: str) -> str:
        _, iterations = effort(self.config)
        cost = MATCH_S * self.products * iterations * searches
        if cost <= self.core_seconds:
            return ""
        return f"gradient matching in {where}: a {self._limit('it', cost)}"

    def _round_s(self, protection: Protection) -> float:
        rate = ROUND_S if protection.shared_key is None else ENCRYPTED_ROUND_S
        return rate * self.parameters * self.config.federation.cohort

    def _limit(self, what: str, cost: float) -> str:
        return (
            f"model of {self.parameters:,} parameters makes {what} cost an estimated "
            f"{cost:,.0f} s of one core, above {self.core_seconds:,.0f}; raise "
            "attacks.core_seconds to measure it."
        )


def workload(federation: Federation, config: Config) -> Workload:
    """Return the sizes of a federation's training."""
    model = build(config.model, federation.input_shape, federation.classes, 0)
    parameters = sum(each.numel() for each in model.parameters())
    return Workload(
        config=config,
        parameters=parameters,
        products=max(parameters, _products(model, federation.input_shape)),
        records=len(federation.train_ids),
    )


def _products(model: nn.Module, shape: tuple[int, ...]) -> int:
    """Count the multiplications of linear and convolutional layers on one record."""
    counted = 0

    def count(module: nn.Module, _: object, output: Tensor) -> None:
        nonlocal counted
        weight = module.weight
        assert isinstance(weight, Tensor)
        # Each output entry takes one row of the weight.
        counted += output.numel() * weight[0].numel()

    kinds = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
    for module in model.modules():
        if isinstance(module, kinds):
            module.register_forward_hook(count)
    with torch.no_grad():
        model.eval()(torch.zeros(1, *shape))
    return counted
