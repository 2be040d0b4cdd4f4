"""From revealed shares to the unmasked sum: the last step of the server.

Bonawitz et al., CCS 2017, figure 4, round 4.  For each survivor the seed b_u is
reconstructed and its own mask subtracted; for each client that dropped after dealing,
its key s_u, and with it every pairwise mask that a neighbour in u3 shared with it.
Each reconstructed secret is checked against what its owner published (H(b_u), the
public mask key), so that a wrong one ends the round and names its dealer instead of
spoiling the sum.

This module does not decide who survived and sends nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from secagg import masks
from secagg.boxes import seed_commitment
from secagg.errors import AbortError, DecodeError
from secagg.graph import Graph
from secagg.keys import AgreementKey, Secret
from secagg.ring import RingVector
from secagg.shamir import Share, interpolate, limbs_to_secret


@dataclass(frozen=True, slots=True)
class Published:
    """What recovery needs of the earlier steps; all of it is public.

    Attributes:
        names: Client names by roster index.
        binding: Round and key list.
        context: The one context of all uploads.
        mask_publics: Public mask keys of u2.
        seed_commitments: H(b_u) of u2.
        share_threshold: Shares that give a secret back.
        graph: Whose masks a client added.
        cipher: What the masks were drawn with.
    """

    names: tuple[str, ...]
    binding: masks.Binding
    context: bytes
    mask_publics: Mapping[int, bytes]
    seed_commitments: Mapping[int, bytes]
    share_threshold: int
    graph: Graph
    cipher: str


def unmask(
    total: RingVector,
    published: Published,
    *,
    u3: frozenset[int],
    shares: Mapping[int, Iterable[Share]],
) -> None:
    """Take all masks out of the sum over u3, in place.

    Args:
        total: Sum of the masked vectors of u3.
        published: What the clients of u2 published.
        u3: Clients whose inputs are in the sum.
        shares: For each client of u2, the shares revealed of it: of b_u if it is in
            u3, else of s_u.

    Raises:
        AbortError: Some client's secret has too few shares or does not match what it
            published; the message names it.
    """
    masks.remove_all(total, _held_masks(published, u3, shares), cipher=published.cipher)


def _held_masks(
    published: Published,
    u3: frozenset[int],
    shares: Mapping[int, Iterable[Share]],
) -> Iterator[tuple[Secret, int]]:
    """Recover the key of each mask in the sum, and the sign that it has there."""
    for owner, secret in _recover(published, shares):
        if owner in u3:
            yield _own_mask(owner, secret, published), 1
        else:
            yield from _pair_masks(owner, secret, published, u3)


def _recover(
    published: Published, shares: Mapping[int, Iterable[Share]]
) -> Iterator[tuple[int, Secret]]:
    """Put all secrets together at once: one matrix product where holders coincide."""
    need = published.share_threshold
    owners = sorted(published.mask_publics)
    enough = []
    for owner in owners:
        # The lowest t holders, so that as many owners as possible have the same.
        own = sorted(shares.get(owner, ()), key=lambda share: share.x)
        if len(own) < need:
            raise AbortError(
                f"only {len(own)} shares of {published.names[owner]!r} were revealed, "
                f"{need} are needed.",
                step="unmask",
                need=need,
                have=len(own),
            )
        enough.append(own[:need])
    for owner, limbs in zip(owners, interpolate(enough), strict=True):
        try:
            secret = limbs_to_secret(limbs)
        except DecodeError as error:
            raise _bad_dealer(published.names[owner]) from error
        yield owner, secret


def _own_mask(owner: int, seed: Secret, published: Published) -> Secret:
    commitment = seed_commitment(published.binding.round_id, owner, seed)
    if commitment != published.seed_commitments[owner]:
        raise _bad_dealer(published.names[owner])
    return masks.self_key(
        seed, owner=owner, binding=published.binding, context=published.context
    )


def _pair_masks(
    owner: int, secret: Secret, published: Published, u3: frozenset[int]
) -> Iterator[tuple[Secret, int]]:
    pair = AgreementKey(secret)
    if pair.public != published.mask_publics[owner]:
        raise _bad_dealer(published.names[owner])
    for survivor in sorted(u3 & published.graph.neighbours(owner)):
        key = masks.pair_key(
            pair.agree(published.mask_publics[survivor]),
            pair=(owner, survivor),
            binding=published.binding,
            context=published.context,
        )
        yield key, masks.sign(survivor, owner)


def _bad_dealer(name: str) -> AbortError:
    return AbortError(
        f"the shares that {name!r} dealt do not give back its secret; run the round "
        "again without this client.",
        step="unmask",
    )
