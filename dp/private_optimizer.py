"""Opacus' optimiser with our arithmetic, our noise, and a ledger before every step.

Opacus divides by a size that its engine takes from the number of records, draws noise
from torch's generator, counts steps after they are made, and lets one gradient that is
not finite into the sum. `PaidOptimizer` keeps its interface and replaces these four.
"""

from __future__ import annotations

import math
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from dp_accounting import DpEvent
from opacus.optimizers import DPOptimizer
from torch import Tensor

from dp.accounting import composed_epsilon, fits, multiset, sampled_gaussian
from dp.errors import BudgetExceeded, ParameterError
from dp.gradients import LARGEST
from dp.ledger import Ledger
from dp.private_loader import Coins
from dp.sgd import DpSgd


@dataclass(slots=True, kw_only=True)
class Purse:
    """What a training may spend: its own target, and what a ledger has room for.

    Attributes:
        party: whose records they are, by the ledger's name for them.
        epsilon, delta: of all steps together.
        event, steps: the plan that keeps them; other steps are accounted one by one.
        ledger: of the caller, or None.
        at_once: steps that are reserved together in that ledger.
    """

    party: str
    epsilon: float
    delta: float
    event: DpEvent
    steps: int
    ledger: Ledger | None
    at_once: int
    _run: str = field(default_factory=lambda: uuid.uuid4().hex)
    _taken: Counter[DpEvent] = field(default_factory=Counter)
    _held: tuple[DpEvent, int] | None = None
    _block: int = -1

    @property
    def taken(self) -> int:
        """Return how many steps were paid for."""
        return self._taken.total()

    @property
    def spent(self) -> float:
        """Return the epsilon of the steps paid for."""
        return composed_epsilon(multiset(self._taken.items()), self.delta)

    def pay(self, event: DpEvent) -> None:
        """Pay for one step, before it is made.

        Raises:
            BudgetExceeded: the target or the ledger has no room for it.
            LedgerError: the ledger cannot record it.
        """
        after = self._taken + Counter([event])
        if self._off_plan(after):
            all_steps = multiset(after.items())
            if not fits(all_steps, self.epsilon, self.delta):
                reached = composed_epsilon(all_steps, self.delta)
                raise BudgetExceeded(self.party, reached, self.epsilon)
        if self.ledger is not None:
            self._reserve(self.ledger, event)
        self._taken = after

    def settle(self) -> None:
        """Note that what was reserved is out, if it all is."""
        if self.ledger is not None and self._held is not None and not self._held[1]:
            self.ledger.commit(run=self._run, round=self._block)

    def _off_plan(self, taken: Counter[DpEvent]) -> bool:
        return set(taken) != {self.event} or taken.total() > self.steps

    def _reserve(self, ledger: Ledger, event: DpEvent) -> None:
        if self._held is None or self._held[0] != event or not self._held[1]:
            count = max(1, min(self.at_once, self.steps - self.taken))
            ledger.reserve(
                self.party, event, count, run=self._run, round=self._block + 1
            )
            self._block, self._held = self._block + 1, (event, count)
        self._held = (event, self._held[1] - 1)


class PaidOptimizer(DPOptimizer):  # type: ignore[misc]
    """Clips each record's gradient, adds noise, divides by a constant, pays first."""

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        *,
        mechanism: DpSgd,
        purse: Purse,
        seed: bytes | None,
        loss_reduction: str,
        coins: Coins,
    ) -> None:
        """Wrap an optimiser, which from now on sees noisy gradients only.

        A step must be about one batch of `coins`: a batch that is used twice is refused
        once there are more steps than batches, and what is left over of a batch when
        another epoch begins is forgotten, so that no sum holds a record twice.
        """
        super().__init__(
            optimizer,
            noise_multiplier=mechanism.noise_multiplier,
            max_grad_norm=mechanism.clip_norm_l2,
            expected_batch_size=mechanism.batch_size,
            loss_reduction=loss_reduction,
        )
        self.purse = purse
        self._rate, self._seed = mechanism.sampling_rate, seed
        self._coins = coins
        coins.begun = self._forget

    @property
    def epsilon(self) -> float:
        """Return what the steps so far have spent, by the PLD accountant."""
        return self.purse.spent

    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Pay for a noisy step, and take it; part of a batch is only summed up.

        Raises:
            BudgetExceeded: before anything was changed.
            LedgerError: the step could not be recorded, or not noted as taken.
            ParameterError: the caller's: a parameter has no gradient per record, the
                noise was set to nothing, or every batch had its step.
        """
        if closure is not None:
            with torch.enable_grad():
                closure()
        for parameter in self.params:
            found = getattr(parameter, "grad_sample", None)
            if not isinstance(found, Tensor):
                raise ParameterError(
                    f"A parameter of shape {tuple(parameter.shape)} has no gradient "
                    "for each record; call backward() on the loss of one batch before "
                    "every step, in training mode, with every parameter in use."
                )
        if self._check_skip_next_step(pop_next=False):
            super().step()
            return None
        if self.purse.taken >= self._coins.drawn:
            raise ParameterError(
                f"{self._coins.drawn} batches were drawn and as many steps taken, so "
                "this one is about a batch that had its step; take one step for each "
                "batch of the returned loader, whose coins the accounting counts on."
            )
        self.purse.pay(sampled_gaussian(self.noise_multiplier, self._rate))
        loss: float | None = super().step()
        self.purse.settle()
        return loss

    def clip_and_accumulate(self) -> None:
        """Add the clipped gradients of the records at hand to the step's sum."""
        found = _Samples([parameter.grad_sample for parameter in self.params])
        everyone = torch.ones_like(found.norms(), dtype=torch.bool)
        sums = self._mechanism().clipped_sums(found, everyone).squeeze(0)
        for parameter, part in zip(self.params, self._cut(sums), strict=True):
            held = parameter.summed_grad
            parameter.summed_grad = part if held is None else held + part
            parameter.grad_sample = None  # counted once

    def add_noise(self) -> None:
        """Set the gradients to the noisy sum over the constant."""
        mechanism = self._mechanism()
        sums = torch.cat([one.summed_grad.reshape(-1) for one in self.params])
        noise = mechanism.noise(len(sums), [self._seed], self.purse.taken - 1)
        released = mechanism.release(sums, torch.from_numpy(noise[0]).to(sums.device))
        for parameter, part in zip(self.params, self._cut(released), strict=True):
            parameter.grad, parameter.summed_grad = part, None

    def scale_grad(self) -> None:
        """Do nothing: what was released is divided already."""

    def _forget(self) -> None:
        """Drop the parts of a batch whose step was not taken, and what was to skip."""
        for parameter in self.params:
            parameter.summed_grad = None
        self._step_skip_queue.clear()
        self._is_last_step_skipped = False

    def _cut(self, flat: Tensor) -> list[Tensor]:
        parts = torch.split(flat, [one.numel() for one in self.params])
        whole = zip(parts, self.params, strict=True)
        return [part.view_as(one) for part, one in whole]

    def _mechanism(self) -> DpSgd:
        # Opacus' schedulers change these between steps; what is in force counts.
        return DpSgd(
            sampling_rate=self._rate,
            batch_size=self.expected_batch_size,
            clip_norm_l2=self.max_grad_norm,
            noise_multiplier=self.noise_multiplier,
        )


class _Samples:
    """A batch's gradients, parameter by parameter; a `dp.sgd.PerExampleGradients`."""

    def __init__(self, parts: list[Tensor]) -> None:
        norms = [
            torch.linalg.vector_norm(_flat(part), dim=1, dtype=torch.float64)
            for part in parts
        ]
        norm = torch.linalg.vector_norm(torch.stack(norms), dim=0)
        sound = norm < LARGEST
        if not bool(sound.all()):
            # Zeroed, not scaled: 0 times infinity would be NaN for the whole sum.
            parts = [
                torch.where(sound.view(-1, *[1] * (part.ndim - 1)), part, 0.0)
                for part in parts
            ]
        self._parts, self._norms = parts, torch.where(sound, norm, 0.0)

    def norms(self) -> Tensor:
        """Return (1, records) float64."""
        return self._norms.unsqueeze(0)

    def weighted_sums(self, factors: Tensor) -> Tensor:
        """Return (1, parameters) float32."""
        # Above 2^-121, which float32 has to its full precision (LARGEST, CLIP_MIN).
        each = factors.squeeze(0).float()
        sums = [
            torch.einsum("i,i...->...", each, part.float()).reshape(-1)
            for part in self._parts
        ]
        return torch.cat(sums).unsqueeze(0)


def _flat(part: Tensor) -> Tensor:
    """Return (records, numbers), for none of either, too."""
    return part.reshape(len(part), math.prod(part.shape[1:]))
