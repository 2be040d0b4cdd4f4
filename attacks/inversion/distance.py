"""How far the gradient of guessed records is from the observed one.

The squared distance of DLG (arXiv 1906.08935, equation 4) and the cosine distance of
Geiping et al. (arXiv 2003.14053, equation 4). Both are relative: a gradient that was
rescaled as a whole keeps its cosine distance to any guess.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from attacks.inversion.replay import Replay
from attacks.observation import Observation

# Weights x restarts beyond which one call per restart is as fast on a CPU: measured on
# fully connected nets of 5 000 to 80 000 weights with 1 to 8 restarts.
_STACKED_WEIGHTS_AT_MOST = 2**19


def as_target(observation: Observation) -> dict[str, Tensor]:
    """Return the observed gradient in the precision in which it will be replayed."""
    dtype = next(observation.model.parameters()).dtype
    return {name: g.to(dtype) for name, g in (observation.gradient or {}).items()}


def squared_distance(
    replay: Replay,
    target: dict[str, Tensor],
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
    target: dict[str, Tensor],
    labels: Tensor,
    known: Mapping[str, Tensor] | None = None,
) -> Callable[[Tensor], Tensor]:
    """Return 1 - cos(g', g) as a function of (restarts, B, *shape) -> (restarts,).

    Where `known` is given, over the entries that were seen.
    """
    norm = torch.stack([g.square().sum() for g in target.values()]).sum().sqrt()
    unit = {name: g / norm for name, g in target.items()}

    def compare(whole: dict[str, Tensor]) -> Tensor:
        guess = _seen(whole, known)
        dots = [(guess[name] * u).sum() for name, u in unit.items()]
        squares = [guess[name].square().sum() for name in unit]
        # The floor keeps the slope finite where a guess has no gradient at all.
        length = torch.stack(squares).sum().clamp_min(1e-30).sqrt()
        return 1 - torch.stack(dots).sum() / length

    def one(inputs: Tensor) -> Tensor:
        grads = torch.func.grad(replay.loss)(replay.weights, inputs, labels)
        return compare(grads)

    def stacked(guesses: Tensor) -> Tensor:
        return torch.func.vmap(one)(guesses)

    def in_turn(guesses: Tensor) -> Tensor:
        return torch.stack(
            [
                compare(replay.gradient(guess, labels, differentiable=True))
                for guess in guesses
            ]
        )

    def choose(guesses: Tensor) -> Tensor:
        weights = sum(w.numel() for w in replay.weights.values())
        pays = 1 < len(guesses) <= _STACKED_WEIGHTS_AT_MOST // max(weights, 1)
        return stacked(guesses) if pays else in_turn(guesses)

    return choose


def _seen(
    guess: dict[str, Tensor], known: Mapping[str, Tensor] | None
) -> dict[str, Tensor]:
    if known is None:
        return guess
    return {name: g * known[name] for name, g in guess.items()}


def is_matchable(target: dict[str, Tensor]) -> bool:
    """Tell whether a gradient is finite and not zero everywhere."""
    finite = all(bool(g.isfinite().all()) for g in target.values())
    return finite and any(bool((g != 0).any()) for g in target.values())
