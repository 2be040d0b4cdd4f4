"""Match the gradient of token sequences: embeddings first, then moves of whole tokens.

After LAMP (Balunovic et al., NeurIPS 2022, arXiv 2202.08827): the embeddings are
optimised as numbers, kept near the length that embeddings have, and rounded to tokens;
then tokens are swapped, moved and replaced wherever that brings the gradient nearer.
LAMP also asks a language model which sentences are likely; none is here, so the
gradient alone scores, and the two phases follow once instead of in turns.

For classifiers of sequences with known labels. Where the gradient of the embedding
table was seen, only tokens with a row that is not zero come in.
"""

import time
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from attacks.errors import ParameterError
from attacks.inversion.answers import DID_NOT_FINISH, NOT_FINITE, candidates
from attacks.inversion.attack import Reconstruction, refused
from attacks.inversion.distance import (
    Distance,
    as_target,
    is_matchable,
    of_each,
    one_minus_cosine,
    units_of,
)
from attacks.inversion.embeddings import Embedded, embedded
from attacks.inversion.search import Schedule, Search, Sign, search
from attacks.observation import Observation, require

_PROPOSALS = 24  # moves that are scored side by side; the best is taken if it helps


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenMatching:
    """Match gradient directions by embeddings, then by moves of tokens.

    Guarantee: deterministic for a seed; the objective returned is that of the tokens
    returned, and no move made it worse.

    Args:
        iterations: steps of the search for embeddings.
        restarts: its starting points, searched side by side.
        step: size of the first steps, in units of the spread of the embedding table.
        length: weight of how far the mean norm is from that of the table.
        moves: rounds of moves, >= 0.
    """

    name: ClassVar[str] = "token matching"
    needs: ClassVar[frozenset[str]] = frozenset(
        {"gradient", "batch_size", "tokens", "labels"}
    )
    uses: ClassVar[frozenset[str]] = frozenset()
    iterations: int = 150
    restarts: int = 4
    step: float = 0.1
    length: float = 0.1
    moves: int = 30

    def __post_init__(self) -> None:
        self._settings()
        if self.restarts < 1 or self.moves < 0 or not self.length >= 0:
            raise ParameterError(
                f"restarts={self.restarts} must be at least 1; moves={self.moves} and "
                f"length={self.length} must not be negative."
            )

    def run(self, observation: Observation, *, seed: int) -> Reconstruction:
        """Search for the sequences of one step.

        Returns:
            All sequences, int64 (B, length), uncertified, in the order of the labels;
            refused if the model cannot be opened at its embeddings or answers at every
            position. `objective` is the cosine distance of their gradient.

        Raises:
            MissingKnowledge: a needed field is unknown.
        """
        began = time.perf_counter()
        seen = require(observation, self.needs, uses=self.uses, attack=self.name)
        target = as_target(seen)
        opened = embedded(seen, target) if is_matchable(target) else NOT_FINITE
        if isinstance(opened, str) or seen.labels is None:
            return refused(seen, str(opened), time.perf_counter() - began)
        one_hot = functional.one_hot(seen.labels.to(opened.table.device), seen.classes)
        units = units_of({name: target[name][None] for name in opened.replay.weights})
        distance = of_each(
            opened.gradient,
            opened.replay,
            units,
            one_hot[None].to(opened.table.dtype),
            None,
            one_minus_cosine,
        )
        draw = torch.Generator().manual_seed(seed)
        found = self._embeddings(seen, opened, distance, draw)
        if found is None:
            return refused(seen, DID_NOT_FINISH, time.perf_counter() - began)
        tokens, reached = self._moved(_nearest(opened, found), opened, distance, draw)
        seconds = time.perf_counter() - began
        return candidates(seen, tokens, seen.labels, reached, seconds)

    def _settings(self) -> Search:
        return Search(
            iterations=self.iterations,
            step=self.step,
            sign=Sign.NONE,
            schedule=Schedule.COSINE,
        )

    def _embeddings(
        self,
        seen: Observation,
        opened: Embedded,
        distance: Distance,
        draw: torch.Generator,
    ) -> Tensor | None:
        """Return the embeddings (B, length, width) that match best, None if none do."""
        table = opened.table
        spread, usual = table.std(), table.norm(dim=1).mean()
        size = (1, self.restarts, seen.records or 1, *seen.input_shape, table.shape[1])
        start = torch.randn(size, generator=draw, dtype=torch.float64).to(table)

        def objective(guesses: Tensor) -> Tensor:
            scaled = guesses * spread
            norms: Tensor = scaled.norm(dim=-1).mean(dim=(2, 3)) / usual
            return distance(scaled) + self.length * (norms - 1).square()

        found = search(objective, start, None, self._settings())
        if not bool(found.objective.isfinite().all()):
            return None
        best: Tensor = found.inputs[0] * spread
        return best

    def _moved(
        self,
        tokens: Tensor,
        opened: Embedded,
        distance: Distance,
        draw: torch.Generator,
    ) -> tuple[Tensor, float]:
        """Return tokens after moves that helped, and their distance."""
        table = opened.table

        def score(proposals: Tensor) -> Tensor:
            return distance(table[proposals][None])[0].detach()

        reached = float(score(tokens[None])[0])
        for _ in range(self.moves):
            proposals = torch.stack(
                [_move(tokens, opened.allowed, draw) for _ in range(_PROPOSALS)]
            )
            values = score(proposals).nan_to_num(nan=torch.inf)
            place = int(values.argmin())
            if float(values[place]) < reached:
                tokens, reached = proposals[place], float(values[place])
        return tokens, reached


def _nearest(opened: Embedded, embeddings: Tensor) -> Tensor:
    """Return the allowed tokens whose embeddings point most alike, (B, length)."""
    rows = functional.normalize(opened.table[opened.allowed], dim=1)
    alike = functional.normalize(embeddings, dim=-1) @ rows.T
    nearest: Tensor = opened.allowed[alike.argmax(dim=-1)]
    return nearest


def _move(tokens: Tensor, allowed: Tensor, draw: torch.Generator) -> Tensor:
    """Swap two tokens, move one elsewhere, or replace one; anywhere in the batch."""
    flat = tokens.flatten().clone()
    kind, one, other, which = torch.rand(4, generator=draw).tolist()
    first, second = int(one * len(flat)), int(other * len(flat))
    if kind < 1 / 3:
        flat[first] = allowed[int(which * len(allowed))]
    elif kind < 2 / 3:
        flat[[first, second]] = flat[[second, first]]
    else:
        rest = torch.cat((flat[:first], flat[first + 1 :]))
        flat = torch.cat((rest[:second], flat[first : first + 1], rest[second:]))
    return flat.view_as(tokens)
