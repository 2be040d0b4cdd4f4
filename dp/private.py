"""DP-SGD for people without a federation: Opacus' own objects, made right.

    model, optimizer, loader = dp.make_private(
        model, optimizer, loader, target_epsilon=3.0, delta=1e-5,
        sampling_rate=0.01, expected_batch_size=64, clip_norm_l2=1.0, epochs=10)
    for x, y in loader:                  # some batches are empty: step on these, too
        optimizer.zero_grad()
        cross_entropy(model(x), y).backward()
        optimizer.step()                 # or dp.BudgetExceeded, before it

What comes back are a GradSampleModule, a DPOptimizer and a DPDataLoader; Opacus'
schedulers and BatchMemoryManager work with them. Opacus' PrivacyEngine.make_private
takes the sampling rate and the divisor from the number of records, which is private,
draws from torch's generator, and counts the steps without ever refusing one.
"""

from __future__ import annotations

import warnings
from typing import Any, Final, Literal

import torch
from opacus import GradSampleModule
from opacus.data_loader import DPDataLoader
from opacus.optimizers import DPOptimizer
from torch import nn
from torch.utils.data import DataLoader

from dp.accounting import sampled_gaussian
from dp.budget import Budget
from dp.calibrate import noise_multiplier_for
from dp.errors import ParameterError
from dp.independence import check_independent, check_layers
from dp.ledger import Ledger
from dp.private_loader import first_input, sampled_loader
from dp.private_optimizer import PaidOptimizer, Purse
from dp.sgd import DpSgd

UNIT: Final = "example"


def make_private(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    loader: DataLoader[Any],
    *,
    target_epsilon: float,
    delta: float,
    sampling_rate: float,
    expected_batch_size: float,
    clip_norm_l2: float,
    epochs: int | None = None,
    steps: int | None = None,
    ledger: Ledger | None = None,
    party: str = "these records",
    reserve_at_once: int = 1,
    loss_reduction: Literal["mean", "sum"] = "mean",
    seed: bytes | None = None,
) -> tuple[GradSampleModule, DPOptimizer, DPDataLoader]:
    """Return model, optimiser and loader that train with differential privacy.

    Guarantee: for real-valued noise, everything that the optimiser does to the model
    is (target_epsilon, delta)-differentially private for adding or removing one
    record, if each batch of the returned loader gets exactly one step, an empty one
    included, and nothing else of the records is looked at: no loss, accuracy or number
    of records. The noise is the least that keeps it for the planned steps (PLD). Each
    step is paid for before it is taken; one that the target, or the ledger, has no
    room for raises BudgetExceeded and changes nothing.

    The number of records touches neither the divisor, the rate nor the number of
    steps. A record whose gradient is not finite counts as zero. Momentum, Adam and
    schedules work on noisy gradients and cost nothing.

    Args:
        model: in training mode, float32, a function of one record at a time; wrapped
            (its hooks stay until `remove_hooks`).
        optimizer: of all parameters of the model that are trained.
        loader: its data set, collate function and workers are kept; its batches are
            replaced by one coin per record. A batch is a tensor, or a tuple, list or
            mapping of tensors, the input first.
        target_epsilon: of all steps together, > 0.
        delta: well below one over the number of records.
        sampling_rate: probability of a record to be in a batch, in (0, 1]; public. Take
            a guess of the number of records that everybody may know.
        expected_batch_size: what each noisy sum is divided by, > 0; public. About
            the rate times that guess.
        clip_norm_l2: bound on the gradient of one record.
        epochs: planned, of int(1 / sampling_rate) batches each; or
        steps: planned. Exactly one of the two.
        ledger: spends there, too, across trainings and restarts. Unit "example", and
            the same delta. Without one, a second training of the same records is not
            composed with this one.
        party: the ledger's name for these records.
        reserve_at_once: steps that are reserved in the ledger together, since each
            reservation takes an accountant's run (some 10 ms). A training that ends
            in between has spent what was reserved.
        loss_reduction: of the caller's loss over a batch: a plain mean or sum. (A mean
            with class weights mixes records: the guarantee does not hold for it.)
        seed: None in deployment. In a simulation, bytes for the coins and the noise of
            this training and no other.

    Raises:
        ParameterError: the caller's: a setting out of range, a model that mixes the
            records of a batch or that Opacus cannot handle, a loader or an optimiser
            that do not fit it, or a ledger of another unit or delta.

    Source: Abadi et al., arXiv:1607.00133, Algorithm 1. Opacus issues 571 and 819.
    """
    planned = _planned(epochs, steps, sampling_rate)
    if seed is not None and not seed:
        raise ParameterError("seed is empty; give bytes, or None for deployment.")
    if reserve_at_once < 1:
        raise ParameterError(f"reserve_at_once={reserve_at_once} must be at least 1.")
    Budget(epsilon=target_epsilon, delta=delta)  # checks both
    _check_ledger(ledger, delta)
    _check_parameters(model, optimizer)
    noise = noise_multiplier_for(target_epsilon, delta, sampling_rate, planned)
    mechanism = DpSgd(
        sampling_rate=sampling_rate,
        batch_size=expected_batch_size,
        clip_norm_l2=clip_norm_l2,
        noise_multiplier=noise,
    )
    sampled = sampled_loader(loader, sampling_rate, seed)
    _check_model(model, first_input(loader))
    purse = Purse(
        party=party,
        epsilon=target_epsilon,
        delta=delta,
        event=sampled_gaussian(noise, sampling_rate),
        steps=planned,
        ledger=ledger,
        at_once=reserve_at_once,
    )
    paid = PaidOptimizer(
        optimizer,
        mechanism=mechanism,
        purse=purse,
        seed=seed,
        loss_reduction=loss_reduction,
        coins=sampled.coins,
    )
    return _wrapped(model, loss_reduction), paid, sampled


def _planned(epochs: int | None, steps: int | None, rate: float) -> int:
    if not 0 < rate <= 1:
        raise ParameterError(
            f"sampling_rate={rate} must be in (0, 1]; it is a public constant."
        )
    if (epochs is None) == (steps is None):
        raise ParameterError("Give either epochs or steps, the plan of the training.")
    count = steps if epochs is None else epochs * int(1 / rate)
    if count is None or count < 1:
        raise ParameterError(f"A plan of {count} steps must have at least 1.")
    return count


def _check_ledger(ledger: Ledger | None, delta: float) -> None:
    if ledger is None:
        return
    if ledger.unit != UNIT:
        raise ParameterError(
            f"The ledger keeps budgets of one {ledger.unit}, and these steps are about "
            f"one {UNIT}; give a ledger with unit={UNIT!r}."
        )
    if ledger.budget.delta != delta:
        raise ParameterError(
            f"delta={delta} must be that of the ledger, {ledger.budget.delta}."
        )


def _check_parameters(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Check that what is trained and what is moved are the same float32 parameters."""
    if isinstance(model, GradSampleModule) or isinstance(optimizer, DPOptimizer):
        raise ParameterError(
            "The model or the optimiser is private already; give the plain ones."
        )
    moved = {id(one) for group in optimizer.param_groups for one in group["params"]}
    trained = {name: one for name, one in model.named_parameters() if one.requires_grad}
    odd = [name for name, one in trained.items() if id(one) not in moved]
    if odd or moved - {id(one) for one in model.parameters()}:
        raise ParameterError(
            f"The optimiser must hold the model's trained parameters and no others"
            f"{f' (it lacks {odd[0]!r})' if odd else ''}; freeze the rest by "
            "requires_grad_(False)."
        )
    for name, one in trained.items():
        if one.dtype != torch.float32:
            raise ParameterError(
                f"Parameter {name!r} is {one.dtype}; clipping and noise are made for "
                "float32, so use model.float()."
            )


def _check_model(model: nn.Module, example: torch.Tensor | None) -> None:
    """Refuse a model that mixes records, by its layers and, where it can be, tried."""
    if not model.training:
        raise ParameterError(
            "The model is in evaluation mode, where Opacus takes no gradient per "
            "record; call model.train()."
        )
    check_layers(model)
    if example is None or not example.is_floating_point():
        return
    device = next(model.parameters()).device
    if device.type == "cpu":
        with torch.random.fork_rng(devices=[]):
            check_independent(model, tuple(example.shape[1:]))


def _wrapped(model: nn.Module, loss_reduction: str) -> GradSampleModule:
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=DeprecationWarning)
            wrapped = GradSampleModule(model, loss_reduction=loss_reduction)
    except (NotImplementedError, ValueError) as error:
        raise ParameterError(f"Opacus cannot train this model: {error}.") from error
    wrapped.forbid_grad_accumulation()
    return wrapped
