"""Sealed shares: what a client deals to each peer in step 1, and how it is checked.

For each peer, a box holds one share of the mask key s_u and one share of the own-mask
seed b_u (Bonawitz et al., CCS 2017, figure 4, round 1), sealed under a key from a
second X25519 pair.  In clear beside the box stand a hash of each share, and H(b_u):
a peer that later reveals a different share is caught alone and costs nobody else.
A share is a uniform field element and b_u a uniform seed, so the hashes hide them.

What it does not do: the hashes do not prove that the dealer's shares lie on one
polynomial; a dealer who cheats there is named when reconstruction fails, and the round
ends.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from secagg import usage
from secagg.errors import AuthenticationError
from secagg.keys import TAG_BYTES, Secret, derive, seal, unseal
from secagg.prg import Rng
from secagg.shamir import SHARE_BYTES, Share, deal

COMMITMENT_BYTES: Final = 16
"""A forger needs a second preimage, 2^128 work; collisions gain a dealer nothing."""

BOX_BYTES: Final = 2 * SHARE_BYTES + TAG_BYTES


class ShareKind(IntEnum):
    """Which secret of its owner a share belongs to."""

    MASK_KEY = 1  # s_u, revealed if its owner dropped
    SELF_MASK = 2  # b_u, revealed if its owner survived


@dataclass(frozen=True, slots=True)
class Box:
    """What one dealer sends to one peer through the server.

    Attributes:
        mask_key: Hash of the share of s_u.
        self_mask: Hash of the share of b_u.
        sealed: Both shares, encrypted.
    """

    mask_key: bytes = field(repr=False)
    self_mask: bytes = field(repr=False)
    sealed: bytes = field(repr=False)

    def commitment(self, kind: ShareKind) -> bytes:
        """Return the hash of the share of that kind."""
        return self.mask_key if kind is ShareKind.MASK_KEY else self.self_mask


@dataclass(frozen=True, slots=True)
class HeldShares:
    """The two shares that a client holds of one peer; it reveals one at most."""

    mask_key: Share
    self_mask: Share

    def of(self, kind: ShareKind) -> Share:
        """Return the share of that kind."""
        return self.mask_key if kind is ShareKind.MASK_KEY else self.self_mask


@dataclass(frozen=True, slots=True)
class Route:
    """From whom to whom a box goes, and in which round."""

    round_id: bytes
    dealer: int
    holder: int

    @property
    def parts(self) -> tuple[bytes, bytes]:
        """Return what binds a hash or a key to this route."""
        ends = self.dealer.to_bytes(2, "little") + self.holder.to_bytes(2, "little")
        return self.round_id, ends


def deal_boxes(
    agreed: Mapping[int, Secret],
    *,
    secrets: tuple[Secret, Secret],
    threshold: int,
    round_id: bytes,
    dealer: int,
    rng: Rng,
) -> tuple[tuple[int, Box], ...]:
    """Share both secrets of one client among others and seal each one's shares.

    Args:
        agreed: What the box keys of dealer and holder agree on, by holder.
        secrets: s_u and b_u.
        threshold: Shares that give a secret back.
        round_id: Digest of the round.
        dealer: Roster index of the dealer.
        rng: Source of the sharing polynomials.

    Returns:
        (holder, box) in the order of ``agreed``.
    """
    holders = [index + 1 for index in agreed]  # x = 0 is the secret
    dealt = deal(secrets, threshold=threshold, holders=holders, rng=rng)
    return tuple(
        (holder, close_box(key, Route(round_id, dealer, holder), HeldShares(*shares)))
        for (holder, key), shares in zip(agreed.items(), dealt, strict=True)
    )


def close_box(agreed: Secret, route: Route, shares: HeldShares) -> Box:
    """Commit to two shares and seal them for their holder."""
    hashes = [share_commitment(route, kind, shares.of(kind)) for kind in ShareKind]
    plaintext = shares.mask_key.value + shares.self_mask.value
    associated = _associated(route, *hashes)
    sealed = seal(_box_key(agreed, route), plaintext, associated)
    return Box(hashes[0], hashes[1], sealed)


def open_box(agreed: Secret, route: Route, box: Box) -> HeldShares:
    """Open a box and check both shares against the dealer's hashes.

    Raises:
        AuthenticationError: The box was not sealed for this route, or a share is not
            the one committed to (peer).
        DecodeError: A share is not canonical (peer).
    """
    associated = _associated(route, box.mask_key, box.self_mask)
    plaintext = unseal(_box_key(agreed, route), box.sealed, associated)
    x = route.holder + 1
    shares = HeldShares(
        Share(x, plaintext[:SHARE_BYTES]), Share(x, plaintext[SHARE_BYTES:])
    )
    for kind in ShareKind:
        check_share(route, kind, shares.of(kind), box.commitment(kind))
    return shares


def check_share(route: Route, kind: ShareKind, share: Share, commitment: bytes) -> None:
    """Compare a share with the hash that its dealer sent beside the box.

    Raises:
        AuthenticationError: They differ (peer).
    """
    if not hmac.compare_digest(share_commitment(route, kind, share), commitment):
        raise AuthenticationError(
            "A share is not the one that its dealer committed to."
        )


def share_commitment(route: Route, kind: ShareKind, share: Share) -> bytes:
    """Hash one dealt share for one route."""
    hashed = usage.digest(
        usage.TAG_SHARE_COMMITMENT, *route.parts, bytes([kind]), share.value
    )
    return hashed[:COMMITMENT_BYTES]


def seed_commitment(round_id: bytes, owner: int, seed: Secret) -> bytes:
    """Hash the seed b_u of an own mask: H(b_u)."""
    return usage.digest(
        usage.TAG_SEED_COMMITMENT, round_id, owner.to_bytes(2, "little"), seed.expose()
    )


def _box_key(agreed: Secret, route: Route) -> Secret:
    return derive(agreed, usage.join(usage.TAG_SHARE_BOX_KEY, *route.parts))


def _associated(route: Route, mask_key: bytes, self_mask: bytes) -> bytes:
    return usage.join(usage.TAG_SHARE_BOX_DATA, *route.parts, mask_key, self_mask)
