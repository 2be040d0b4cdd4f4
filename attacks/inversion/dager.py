"""Rebuild sequences of tokens from the spans that weight gradients live in.

DAGER (Petrov et al., NeurIPS 2024, arXiv 2405.15586): a linear map that reads rows Z
has a weight gradient whose rows lie in the span of Z. With fewer rows than the width
that span holds, almost surely, no other token: each (token, position) is tested alone.
In a decoder the maps behind the first attention read prefixes, so sequences grow token
by token and a prefix that leaves the span is dropped. We test the first map that reads
prefixes, pool all maps that read the same rows, and take the dimension that the test
needs from made-up sequences rather than from the width (a layer norm costs one).

A certificate needs more than the spans: labels read off the output layer must come out
as whole classes, and the gradient of the whole recovered batch, replayed, must point
the way of the observed one. After several local steps the spans are only nearly right;
they are then tested more and more coarsely, without a certificate. Not here: batches in
encoders, padding, noised gradients.
"""

import math
import time
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from attacks.errors import ParameterError
from attacks.inversion.agreement import rounding_of
from attacks.inversion.attack import Certificate, Reconstruction, refused
from attacks.inversion.nexttoken import certify_batch
from attacks.inversion.sequences import (
    Reader,
    Readers,
    find_readers,
    off_span,
    quiet_copy,
    rows_read,
    span_of,
)
from attacks.observation import Observation, require

_CHUNK = 1024  # sequences per forward pass
_BLURRED = (1e-12, 1e-9, 1e-7, 1e-6, 1e-5)
_CUT = 4.0  # roundings of the strongest direction below which a direction is noise


@dataclass(frozen=True, slots=True, kw_only=True)
class DAGER:
    """Recover a batch of token sequences; certified when the whole gradient agrees.

    Guarantee: certified sequences have the observed gradient, all of it, up to
    rounding; `steps`, `batch_size` and `clients_summed` must be true. With as many
    independent rows as dimensions it refuses.

    Args:
        max_prefixes: give up when more prefixes than this survive at one position.
    """

    name: ClassVar[str] = "DAGER"
    needs: ClassVar[frozenset[str]] = frozenset({"gradient", "tokens"})
    uses: ClassVar[frozenset[str]] = frozenset({"batch_size", "steps", "labels"})
    max_prefixes: int = 4096

    def __post_init__(self) -> None:
        if self.max_prefixes < 1:
            raise ParameterError(f"max_prefixes={self.max_prefixes} must be positive.")

    def run(self, observation: Observation, *, seed: int) -> Reconstruction:
        """Recover sequences (K, length), int64; `seed` draws made-up sequences.

        `objective` is the largest distance to the span among the sequences found.

        Raises:
            MissingKnowledge: no gradient, or records that are no tokens.
        """
        start = time.perf_counter()
        seen = require(observation, self.needs, uses=self.uses, attack=self.name)
        found, distance, why_not = None, 0.0, ""
        for blur in _blurs(seen):
            found, distance, last = self._search(seen, seed, blur)
            why_not = why_not or last  # the sharpest test gives the reason
            if found is not None:
                break
        if found is None:
            return refused(seen, why_not, time.perf_counter() - start)
        labels, why_not = certify_batch(seen, found)
        return Reconstruction(
            inputs=found,
            labels=labels,
            certificate=(Certificate.UNCERTIFIED if why_not else Certificate.CERTIFIED),
            reason=why_not
            or "The sequences fill the spans and have the observed gradient.",
            objective=distance,
            seconds=time.perf_counter() - start,
        )

    def _search(
        self, seen: Observation, seed: int, blur: float
    ) -> tuple[Tensor | None, float, str]:
        model = quiet_copy(seen.model)
        length, tokens = seen.input_shape[0], seen.tokens or 0
        readers = find_readers(model, length, tokens)
        if readers is None:
            return None, 0.0, "No linear layer reads single tokens."
        span, why_not = _observed_span(seen, readers.token, model, seed, blur)
        if span is None:
            return None, 0.0, why_not
        limit = math.sqrt(blur)
        choices, distance = _token_sets(model, readers.token, seen, span, limit)
        if any(len(each) == 0 for each in choices):
            return None, 0.0, "At some position no token lies in the gradient's span."
        if length > 1 and readers.prefix is None:
            return _one_sequence(choices, distance, readers)
        if readers.prefix is None:
            return choices[0][:, None], distance, ""
        span, why_not = _observed_span(seen, readers.prefix, model, seed, blur)
        if span is None:
            return None, 0.0, why_not
        return self._grow(model, readers.prefix, choices, span, limit)

    def _grow(
        self,
        model: nn.Module,
        reader: Reader,
        choices: list[Tensor],
        span: Tensor,
        limit: float,
    ) -> tuple[Tensor | None, float, str]:
        """Extend prefixes by every token of the next position, keep those in span."""
        prefixes = torch.zeros((1, 0), dtype=torch.int64)
        worst = 0.0
        for place, tokens in enumerate(choices):
            grown = torch.cat(
                [
                    prefixes.repeat_interleave(len(tokens), dim=0),
                    tokens.repeat(len(prefixes))[:, None],
                ],
                dim=1,
            )
            kept, far = [], 0.0
            for part in torch.split(grown, _CHUNK):
                # What comes later cannot reach this place; the last token fills it up.
                rest = part[:, -1:].expand(-1, len(choices) - place - 1)
                whole = torch.cat([part, rest], dim=1).to(span.device)
                distance = off_span(span, rows_read(model, reader, whole)[:, place])
                inside = (distance <= limit).cpu()
                kept.append(part[inside])
                if bool(inside.any()):
                    far = max(far, float(distance.cpu()[inside].max()))
            prefixes, worst = torch.cat(kept), max(worst, far)
            if len(prefixes) == 0:
                return (
                    None,
                    0.0,
                    (
                        f"No prefix of {place + 1} tokens lies in the span of "
                        f"{len(span)} dimensions: too many tokens for the width, "
                        "or noise."
                    ),
                )
            if len(prefixes) > self.max_prefixes:
                return (
                    None,
                    0.0,
                    (
                        f"More than {self.max_prefixes} prefixes of {place + 1} tokens "
                        "lie in the span; it tells nothing apart."
                    ),
                )
        return prefixes, worst, ""


def _blurs(seen: Observation) -> list[float]:
    """Return what counts as rounding, sharpest first.

    After several steps the rows are only nearly in a span, so blurred tests follow;
    what they find is never certified, since only one step is.
    """
    sharp = rounding_of(seen)
    if seen.steps == 1:
        return [sharp]
    return [sharp, *(blur for blur in _BLURRED if blur > 10 * sharp)]


def _observed_span(
    seen: Observation, reader: Reader, model: nn.Module, seed: int, blur: float
) -> tuple[Tensor | None, str]:
    """Return the span of a reader's gradients, unless it fills all that rows can."""
    gradient = seen.gradient or {}
    if any(name not in gradient for name in reader.weights):
        return None, f"The update lacks a gradient of {' or '.join(reader.weights)}."
    pooled = torch.cat([gradient[name].double() for name in reader.weights])
    if not bool(pooled.isfinite().all()) or not bool(pooled.any()):
        return None, "The gradient of the attention is zero or not finite."
    basis = span_of(pooled, cut=_CUT * blur)
    generator = torch.Generator().manual_seed(seed)
    length, width = seen.input_shape[0], pooled.shape[1]
    made_up = torch.randint(
        0, seen.tokens or 2, (2 * width // length + 1, length), generator=generator
    )
    rows = rows_read(model, reader, made_up.to(pooled.device)).flatten(0, 1)
    room = len(span_of(rows, cut=_CUT * rounding_of(seen)))
    if len(basis) >= room:
        return None, (
            f"The gradient spans {len(basis)} of {room} dimensions: there are too many "
            "tokens for the width, and every token lies in the span."
        )
    return basis, ""


def _token_sets(
    model: nn.Module, reader: Reader, seen: Observation, span: Tensor, limit: float
) -> tuple[list[Tensor], float]:
    """Return for each position the tokens whose row lies in the span."""
    length, tokens = seen.input_shape[0], seen.tokens or 0
    distances = []
    for part in torch.split(torch.arange(tokens, device=span.device), _CHUNK):
        rows = rows_read(model, reader, part[:, None].expand(-1, length).contiguous())
        far = off_span(span, rows.flatten(0, 1)).reshape(rows.shape[:2])
        distances.append(far.cpu())
    table = torch.cat(distances)  # (tokens, length)
    sets = [(table[:, place] <= limit).nonzero().flatten() for place in range(length)]
    near = table[table <= limit]
    return sets, float(near.max()) if near.numel() else 0.0


def _one_sequence(
    choices: list[Tensor], distance: float, readers: Readers
) -> tuple[Tensor | None, float, str]:
    """Answer for models without a causal reader: unambiguous for one record only."""
    if all(len(each) == 1 for each in choices):
        return torch.cat(choices)[None], distance, ""
    if readers.causal:
        return None, 0.0, "No linear layer reads prefixes; the order stays unknown."
    return (
        None,
        0.0,
        (
            "Every row behind the attention depends on later tokens (an encoder), and "
            "some position has several tokens; only one record can be told there."
        ),
    )
