"""What a client knows of a round, and what it does in each of the four steps.

Bonawitz et al., CCS 2017, figure 4, the user's column; u1, u2 and u3 are those sets
among this client and its neighbours.  Each method checks one request
of the server in full and builds the answer.  What a later step does not need is dropped
or overwritten as soon as it has been used.

It does not decide which step is due, and does not survive an error: that is ``client``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from secagg import encode, masks
from secagg.boxes import HeldShares, Route, ShareKind, deal_boxes, open_box
from secagg.boxes import seed_commitment as commit_to_seed
from secagg.dealing import SealedShares, ShareDelivery
from secagg.draft import Draft
from secagg.errors import (
    AbortError,
    AuthenticationError,
    DecodeError,
    RemoteProtocolError,
)
from secagg.graph import graph_of
from secagg.invite import Invite, Step
from secagg.keylist import Advertise, KeyList, NeighbourKeys, PublicKeys
from secagg.keys import SECRET_BYTES, AgreementKey, IdentityKey, Secret, verify
from secagg.policy import Policy
from secagg.prg import Rng, draw
from secagg.reveal import RevealedShare, UnmaskRequest, UnmaskShares
from secagg.ring import RingVector
from secagg.upload import MaskedInput


@dataclass(frozen=True, slots=True, eq=False)
class Offer:
    """What the caller wants in the sum; the draft's words are not yet sealed."""

    length: int
    draft: Draft = field(repr=False)
    context: bytes = field(repr=False)
    fingerprint: bytes = field(default=b"", repr=False)


class Member:
    """One client's part in one round.

    Args:
        invite: The invitation, already found to be the agreed one.
        policy: What this client accepts.
        name: Own name, listed in the invitation.
        key: Ed25519 identity, if there is one.
        rng: Source of all randomness.

    Raises:
        ParameterError: ``rng`` is broken (caller).
    """

    def __init__(
        self,
        invite: Invite,
        policy: Policy,
        *,
        name: str,
        key: IdentityKey | None,
        rng: Rng,
    ) -> None:
        self.invite = invite
        self._plan = invite.plan
        self._roster = policy.roster
        self._round_id = invite.round_id
        self._name = name
        self._me = invite.roster.index(name)
        self._neighbours = graph_of(invite.plan, invite.round_id).neighbours(self._me)
        self._key = key
        self._rng = rng
        self._box_key = AgreementKey.generate(rng)
        self._mask_key = AgreementKey.generate(rng)
        self._seed = Secret(draw(rng, SECRET_BYTES))  # b_u
        self._u1: dict[int, PublicKeys] = {}  # the others of u1
        self._u2 = frozenset[int]()
        self._binding = masks.Binding(self._round_id, b"")
        self._box_secrets: dict[int, Secret] = {}
        self._mask_secrets: dict[int, Secret] = {}
        self._held: dict[int, HeldShares] = {}
        self._prepared: masks.Prepared | None = None

    def __repr__(self) -> str:
        return f"Member(name={self._name!r})"

    @property
    def layout(self) -> encode.Layout:
        """Layout of the vectors of this round."""
        plan = self._plan
        return encode.layout(
            plan.encoder, clients=plan.clients, length=self.invite.length
        )

    def advertise(self) -> Advertise:
        """Step 0: publish both keys, signed if there is an identity."""
        publics = (self._box_key.public, self._mask_key.public)
        keys = PublicKeys(self._me, *publics)
        if self._key is not None:
            signature = self._key.sign(keys.signed_bytes(self._round_id, self._name))
            keys = PublicKeys(self._me, *publics, signature)
        return Advertise(self._round_id, keys)

    def share(self, key_list: KeyList | NeighbourKeys) -> SealedShares:
        """Step 1: check the neighbours' keys, deal both secrets to them.

        Raises:
            RemoteProtocolError: The list is not one for this client, or a key is not
                its owner's (peer).
            AbortError: Fewer than t neighbours are left.
        """
        if isinstance(key_list, KeyList) != self._plan.complete:
            raise RemoteProtocolError("the key list is not one for the plan's graph.")
        if isinstance(key_list, NeighbourKeys) and key_list.receiver != self._me:
            raise RemoteProtocolError("the key list is for another client.")
        u1 = {keys.index: keys for keys in key_list.keys}
        self._require(len(u1), Step.SHARE_KEYS)
        own = u1.pop(self._me, None)
        if own is None or (own.box_public, own.mask_public) != (
            self._box_key.public,
            self._mask_key.public,
        ):
            raise RemoteProtocolError("the key list does not hold this client's keys.")
        if not u1.keys() <= self._neighbours:
            raise RemoteProtocolError(
                "the key list names a client that is not a neighbour."
            )
        for keys in u1.values():
            self._check_identity(keys)
        self._u1 = u1
        self._binding = masks.Binding(self._round_id, key_list.digest())
        self._box_secrets = {
            v: self._box_key.agree(keys.box_public) for v, keys in u1.items()
        }
        self._box_key.wipe()
        mask_secret = self._mask_key.secret()  # s_u
        boxes = deal_boxes(
            self._box_secrets,
            secrets=(mask_secret, self._seed),
            threshold=self._plan.t,
            round_id=self._round_id,
            dealer=self._me,
            rng=self._rng,
        )
        mask_secret.wipe()
        commitment = commit_to_seed(self._round_id, self._me, self._seed)
        return SealedShares(self._round_id, self._me, commitment, boxes)

    def hold(self, delivery: ShareDelivery) -> None:
        """Step 2, first half: learn u2 and open the boxes of its members.

        A box that does not open costs its dealer one share, not the round: this client
        will reveal nothing for it, and enough others suffice.

        Raises:
            RemoteProtocolError: The delivery is not one for this client (peer).
            AbortError: Fewer than t neighbours are left.
        """
        dealers = {dealer for dealer, _ in delivery.boxes}
        if delivery.receiver != self._me or not dealers <= self._u1.keys():
            raise RemoteProtocolError("a share delivery is not for this client's u1.")
        self._require(len(dealers) + 1, Step.MASKED_INPUT)
        self._u2 = frozenset(dealers | {self._me})
        for dealer, box in delivery.boxes:
            route = Route(self._round_id, dealer, self._me)
            try:
                shares = open_box(self._box_secrets[dealer], route, box)
            except (AuthenticationError, DecodeError):
                continue
            self._held[dealer] = shares
        self._mask_secrets = {
            v: self._mask_key.agree(self._u1[v].mask_public) for v in sorted(dealers)
        }
        self._mask_key.wipe()
        _wipe(self._box_secrets.values())

    @property
    def prepared_context(self) -> bytes | None:
        """The context of the prepared masks, if there are any."""
        return self._prepared.context if self._prepared else None

    def prepare(self, context: bytes) -> None:
        """Between both halves of step 2: add up all masks, and drop their keys."""
        where = self.layout
        summed = where.ring.zeros(where.words)
        self._mask(summed, context)
        self._prepared = masks.Prepared(context, summed)

    def upload(self, offer: Offer) -> bytes:
        """Step 2, second half: put in what the round adds, mask, and encode."""
        where, words, context = self.layout, offer.draft.words, offer.context
        encode.seal(where, words, self._round_id, context)
        if self._prepared is None:
            self._mask(words, context)  # over the input
        else:
            self._prepared.spend(words)
        del words  # whose memory the message takes
        empty = MaskedInput(self._round_id, self._me, context, b"")
        return offer.draft.message(empty.head())

    def _mask(self, total: RingVector, context: bytes) -> None:
        """Add all masks under a context, and drop their keys."""
        own = masks.self_key(
            self._seed, owner=self._me, binding=self._binding, context=context
        )
        pairs = {
            v: masks.pair_key(
                agreed, pair=(self._me, v), binding=self._binding, context=context
            )
            for v, agreed in self._mask_secrets.items()
        }
        masks.add_masks(
            total, me=self._me, own=own, pairs=pairs, cipher=self._plan.cipher
        )
        _wipe([self._seed, own, *pairs.values(), *self._mask_secrets.values()])

    def unmask(self, request: UnmaskRequest) -> UnmaskShares:
        """Step 3: reveal one share per neighbour.

        The kind follows from u3 alone: of b_v if v is in it, of s_v if v is in u2 only.

        Raises:
            RemoteProtocolError: The request is not for this client, or its u3 holds a
                neighbour that is not in u2 (peer).
            AbortError: u3 holds fewer than t neighbours, or fewer clients than the plan
                promises in a sum.
        """
        u3 = request.survivors
        if request.receiver != self._me or self._me not in u3:
            raise RemoteProtocolError("an unmask request is not for this client.")
        near = u3 & (self._neighbours | {self._me})
        if not near <= self._u2:
            raise RemoteProtocolError(
                "an unmask request names a client that is not in u2."
            )
        self._require_all(len(u3))
        self._require(len(near), Step.UNMASK)
        revealed = []
        for owner, shares in sorted(self._held.items()):
            kind = ShareKind.SELF_MASK if owner in u3 else ShareKind.MASK_KEY
            revealed.append(RevealedShare(owner, kind, shares.of(kind).value))
        return UnmaskShares(self._round_id, self._me, tuple(revealed))

    def forget(self) -> None:
        """Overwrite secrets; CPython may keep copies in freed memory."""
        self._box_key.wipe()
        self._mask_key.wipe()
        _wipe([self._seed, *self._box_secrets.values(), *self._mask_secrets.values()])
        self._held.clear()
        if self._prepared is not None:
            self._prepared.wipe()

    def _check_identity(self, keys: PublicKeys) -> None:
        """Check the signature over a peer's keys, if the policy has a roster."""
        if self._roster is None:
            return
        name = self.invite.roster[keys.index]
        signed = keys.signed_bytes(self._round_id, name)
        try:
            verify(self._roster[name], signed, keys.signature)
        except AuthenticationError as error:
            error.peer = name
            raise

    def _require_all(self, have: int) -> None:
        need = self._plan.threshold
        if have < need:
            raise AbortError(
                f"only {have} clients would be in the sum, {need} are needed.",
                step=Step.UNMASK,
                need=need,
                have=have,
            )

    def _require(self, have: int, step: Step) -> None:
        need = self._plan.t + 1  # neighbours, and this client
        if have < need:
            where = "" if self._plan.complete else " in this client's neighbourhood"
            raise AbortError(
                f"only {have} clients are left{where} in step {step}, {need} are "
                "needed.",
                step=step,
                need=need,
                have=have,
            )


def _wipe(secrets: Iterable[Secret]) -> None:
    for secret in secrets:
        secret.wipe()
