"""How far the gradient of guessed records is from the observed one.

The squared distance of DLG (arXiv 1906.08935, equation 4) and the cosine distance of
Geiping et al. (arXiv 2003.14053, equation 4). Both are relative: a gradient that was
rescaled as a whole keeps its cosine distance to any guess.

Cosines of many guesses at many targets are found in one of three ways, the quickest for
the model: through activations (`ghost`), by one vectorised gradient, or one after the
other. Of 8 guesses, on one core: through activations some 12 times as fast as one by
one on a fully connected net of 790 000 weights; vectorised up to 5 times on small nets;
large convolutional ones are as fast one by one.
"""

from collections.abc import Callable, Mapping
from typing import Protocol

import torch
from torch import Tensor

from attacks.inversion.ghost import ghost_of
from attacks.inversion.replay import Replay
from attacks.observation import Observation

# Weights x guesses beyond which one call per guess is as fast on a CPU: measured on
# fully connected nets of 5 000 to 80 000 weights with 1 to 8 guesses.
_STACKED_WEIGHTS_AT_MOST = 2**19
# The floor keeps the slope finite where a guess has no gradient at all.
_FLOOR = 1e-30

Compare = Callable[[Mapping[str, Tensor], Mapping[str, Tensor]], Tensor]
"""From a guess's gradient and a target to a number."""


class Distance(Protocol):
    """From (K, R, B, *shape), R guesses at each of K targets, to (K, R).

    Guesses may bring labels of their own, (K, R, B, classes) probabilities.
    """

    def __call__(self, guesses: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return how far each guess's gradient is from its target."""
        ...


def as_target(observation: Observation) -> dict[str, Tensor]:
    """Return the observed gradient in the precision in which it will be replayed."""
    dtype = next(observation.model.parameters()).dtype
    return {name: g.to(dtype) for name, g in (observation.gradient or {}).items()}


def squared_distance(
    replay: Replay,
    target: Mapping[str, Tensor],
    inputs: Tensor,
    labels: Tensor,
    known: Mapping[str, Tensor] | None = None,
) -> Tensor:
    """Return ||g' - g||^2 / ||g||^2, differentiable in inputs and labels.

    Where `known` is given, over the entries that were seen.
    """
    guess = _seen(replay.gradient(inputs, labels, differentiable=True), known)
    gaps = [(guess[name] - g).square().sum() for name, g in target.items()]
    norms = [g.square().sum() for g in target.values()]
    return torch.stack(gaps).sum() / torch.stack(norms).sum()


def cosine_distance(
    replay: Replay,
    targets: Mapping[str, Tensor],
    labels: Tensor,
    shape: tuple[int, ...],
    known: Mapping[str, Tensor] | None = None,
) -> Distance:
    """Return the function 1 - cos(g', g) of guesses.

    Args:
        replay: the attacker's copy of the model.
        targets: by parameter name, (K, *shape of the parameter).
        labels: (K, B, classes) probabilities.
        shape: of one record.
        known: by parameter name, the entries that were seen; None for all of them.
    """
    units = units_of(targets)
    common = labels
    ghost = ghost_of(replay, shape) if known is None else None
    if ghost is None:
        return _by_gradients(replay, units, labels, known)

    def by_activations(guesses: Tensor, labels: Tensor | None = None) -> Tensor:
        each = common if labels is None else labels
        dots, squares = ghost.products(guesses, each, units)
        return 1 - dots / squares.clamp_min(_FLOOR).sqrt()

    return by_activations


def units_of(targets: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return targets (K, *shape of the parameter), each scaled to norm one."""
    lengths = [g.flatten(1).square().sum(dim=1) for g in targets.values()]
    length = torch.stack(lengths).sum(dim=0).clamp_min(_FLOOR).sqrt()  # (K,)
    return {
        name: g / length.reshape(-1, *[1] * (g.dim() - 1))
        for name, g in targets.items()
    }


def squared_distances(
    replay: Replay,
    targets: Mapping[str, Tensor],
    labels: Tensor,
    known: Mapping[str, Tensor] | None = None,
) -> Distance:
    """Return the function ||g' - g||^2 / ||g||^2 of guesses.

    Args:
        replay: the attacker's copy of the model.
        targets: by parameter name, (K, *shape of the parameter).
        labels: (K, B, classes) probabilities.
        known: by parameter name, the entries that were seen; None for all of them.
    """

    def compare(guess: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> Tensor:
        gaps = [(guess[name] - g).square().sum() for name, g in target.items()]
        norms = [g.square().sum() for g in target.values()]
        return torch.stack(gaps).sum() / torch.stack(norms).sum()

    return of_each(replay.loss_gradient, replay, targets, labels, known, compare)


def _by_gradients(
    replay: Replay,
    units: Mapping[str, Tensor],
    labels: Tensor,
    known: Mapping[str, Tensor] | None = None,
) -> Distance:
    return of_each(replay.loss_gradient, replay, units, labels, known, one_minus_cosine)


def one_minus_cosine(guess: Mapping[str, Tensor], unit: Mapping[str, Tensor]) -> Tensor:
    """Return 1 - cos of a gradient and a target of norm one."""
    dots = [(guess[name] * u).sum() for name, u in unit.items()]
    squares = [guess[name].square().sum() for name in unit]
    length = torch.stack(squares).sum().clamp_min(_FLOOR).sqrt()
    return 1 - torch.stack(dots).sum() / length


def of_each(
    gradient: Callable[[Tensor, Tensor], dict[str, Tensor]],
    replay: Replay,
    targets: Mapping[str, Tensor],
    labels: Tensor,
    known: Mapping[str, Tensor] | None,
    compare: Compare,
) -> Distance:
    """Return the function that compares each guess's gradient with its target.

    Args:
        gradient: from (B, *shape) and (B, classes) to gradients by parameter name;
            differentiable, also under `torch.func.vmap`.
        replay: whose weights they are of.
        targets: by parameter name, (K, *shape of the parameter).
        labels: (K, B, classes) probabilities.
        known: by parameter name, the entries that were seen; None for all of them.
        compare: one gradient with one target.
    """
    weights = sum(w.numel() for w in replay.weights.values())
    common = labels

    def one(inputs: Tensor, labels: Tensor, target: dict[str, Tensor]) -> Tensor:
        return compare(_seen(gradient(inputs, labels), known), target)

    def stacked(guesses: Tensor, each: Tensor) -> Tensor:
        of_one_target = torch.func.vmap(one, in_dims=(0, 0, None))
        return torch.func.vmap(of_one_target)(guesses, each, dict(targets))

    def alone(inputs: Tensor, labels: Tensor, target: dict[str, Tensor]) -> Tensor:
        if gradient != replay.loss_gradient:
            return one(inputs, labels, target)
        # The same by plain autograd, which takes an eighth less of the time.
        slope = replay.gradient(inputs, labels, differentiable=True)
        return compare(_seen(slope, known), target)

    def in_turn(guesses: Tensor, each: Tensor) -> Tensor:
        found = []
        for place in range(len(guesses)):
            target = {name: t[place] for name, t in targets.items()}
            for guess, own in zip(guesses[place], each[place], strict=True):
                found.append(alone(guess, own, target))
        return torch.stack(found).reshape(guesses.shape[:2])

    def choose(guesses: Tensor, labels: Tensor | None = None) -> Tensor:
        each = labels
        if each is None:
            each = common[:, None].expand(-1, guesses.shape[1], -1, -1)
        count = guesses.shape[0] * guesses.shape[1]
        pays = 1 < count <= _STACKED_WEIGHTS_AT_MOST // max(weights, 1)
        return stacked(guesses, each) if pays else in_turn(guesses, each)

    return choose


def _seen(
    guess: dict[str, Tensor], known: Mapping[str, Tensor] | None
) -> dict[str, Tensor]:
    if known is None:
        return guess
    return {name: g * known[name] for name, g in guess.items()}


def is_matchable(target: Mapping[str, Tensor]) -> bool:
    """Tell whether a gradient is finite and not zero everywhere."""
    finite = all(bool(g.isfinite().all()) for g in target.values())
    return finite and any(bool((g != 0).any()) for g in target.values())
