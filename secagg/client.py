"""The client's side of a round: bytes in, bytes out.

Bonawitz et al., CCS 2017, figure 4, semi-honest setting, with the additions named in
``masks`` and ``boxes``.  A ``Client`` serves one round.  It does no I/O, keeps no clock
and draws randomness only from ``rng``.  Guarantee against a semi-honest server with up
to ``plan.corrupt`` colluding clients: nothing about an offered vector leaves but sums
over at least ``plan.honest_min`` honest inputs.

What it does not do: it does not survive a restart, and it has no defence against a
server that tells different clients of different survivors.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import SupportsIndex

import numpy as np
from numpy.typing import ArrayLike, NDArray

from secagg import encode, masks, usage
from secagg.boxes import (
    HeldShares,
    Route,
    ShareKind,
    deal_boxes,
    open_box,
    seed_commitment,
)
from secagg.errors import (
    AbortError,
    AuthenticationError,
    DecodeError,
    LocalProtocolError,
    ParameterError,
    RemoteProtocolError,
)
from secagg.invite import (
    NO_ROUND,
    SERVER,
    Advertise,
    Invite,
    KeyList,
    Limits,
    PublicKeys,
)
from secagg.keys import SECRET_BYTES, AgreementKey, IdentityKey, Secret, verify
from secagg.messages import (
    Abort,
    MaskedInput,
    ProtocolMessage,
    RevealedShare,
    SealedShares,
    ShareDelivery,
    UnmaskRequest,
    UnmaskShares,
    decode,
)
from secagg.params import Plan
from secagg.policy import Policy
from secagg.prg import KEY_BYTES, Rng, draw
from secagg.states import FINAL_STATES, Event, Role, State, advance


@dataclass(frozen=True, slots=True)
class _Offer:
    """What the caller wants in the sum."""

    rounded: NDArray[np.int64] = field(repr=False)
    weight: int = field(repr=False)
    context: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Round:
    """What a client knows until it has uploaded."""

    invite: Invite
    me: int
    box_key: AgreementKey = field(repr=False)
    mask_key: AgreementKey = field(repr=False)
    seed: Secret  # b_u


@dataclass(frozen=True, slots=True)
class _Peers:
    """The other clients, as far as the server has named them."""

    u1: Mapping[int, PublicKeys]
    key_list: bytes
    box_secrets: Mapping[int, Secret]
    held: Mapping[int, HeldShares] = field(default_factory=dict, repr=False)
    u2: frozenset[int] = frozenset()
    mask_secrets: Mapping[int, Secret] = field(default_factory=dict)


class Client:
    """One client in one round.

    Args:
        plan: The plan that the caller agreed to; another one proposed is refused.
        policy: What this client accepts; the plan is checked against it at once.
        me: Own name, as in the server's roster.
        key: Ed25519 identity; needed if ``policy.roster`` is given.
        rng: Source of all randomness; leave the default outside simulations.

    Raises:
        ParameterError: The plan breaks the policy, or ``key`` is missing or not the
            one in the roster (caller).
    """

    def __init__(
        self,
        plan: Plan,
        policy: Policy,
        *,
        me: str,
        key: IdentityKey | None = None,
        rng: Rng = os.urandom,
    ) -> None:
        policy.check(plan)
        if policy.roster is not None and (
            key is None or policy.roster.get(me) != key.public
        ):
            raise ParameterError(
                f"the policy has a roster, but key is not the one listed for {me!r}; "
                "pass the identity key of this client.",
                argument="key",
            )
        self._plan = plan
        self._policy = policy
        self._me = me
        self._key = key
        self._rng = rng
        self._state = State.NEW
        self._fault: RemoteProtocolError | AbortError | None = None
        self._limits = Limits(plan.clients)
        self._round_id = NO_ROUND
        self._offer: _Offer | None = None
        self._round: _Round | None = None
        self._peers: _Peers | None = None

    @property
    def state(self) -> State:
        """What this client waits for."""
        return self._state

    @property
    def finished(self) -> bool:
        """True once this client has done all that the round asks of it."""
        return self._state is State.FINISHED

    @property
    def aborted(self) -> bool:
        """True once this client takes no further part; ``fault`` says why."""
        return self._state is State.ABORTED

    @property
    def fault(self) -> RemoteProtocolError | AbortError | None:
        """Why this client aborted, if it did."""
        return self._fault

    def __repr__(self) -> str:
        return f"Client(me={self._me!r}, state={self._state.value!r})"

    def offer(
        self, vector: ArrayLike, *, weight: SupportsIndex = 1, context: bytes
    ) -> tuple[bytes, ...]:
        """Give the vector that this client adds to the sum.

        May be called at any time before the upload, once.  If the arguments are
        refused, nothing was sent and the caller may offer again.

        Args:
            vector: shape (length,), float16, float32 or float64, with an L2 norm of at
                most ``plan.encoder.clip_norm_l2``.
            weight: Integer in 1..weight_max; reaches the server only in the sum.
            context: 32 bytes from ``secagg.context``, equal for all clients.

        Returns:
            Messages to the server: the upload if it was waited for, else none.

        Raises:
            ParameterError: An argument is outside its range (caller).
            LocalProtocolError: A vector was offered before, or the round is over for
                this client (caller).
        """
        try:
            following = advance(Role.CLIENT, self._state, Event.OFFER)
        except LocalProtocolError:
            if self._state is not State.FINISHED:
                self._state = State.ABORTED
            self._forget()
            raise
        encoder = self._plan.encoder
        length = self._round.invite.length if self._round else None
        values = encode.check_vector(encoder, vector, length=length)
        checked_weight = encode.check_weight(encoder, weight)
        if not isinstance(context, bytes) or len(context) != usage.DIGEST_BYTES:
            raise ParameterError(
                "context must be the 32 bytes of secagg.context(...).",
                argument="context",
            )
        rounded = encode.quantise(encoder, values, draw(self._rng, KEY_BYTES))
        self._offer = _Offer(rounded, checked_weight, context)
        self._state = following
        return self._upload() if following is State.UPLOADED else ()

    def receive(self, data: bytes) -> tuple[bytes, ...]:
        """Take one message of the server and answer it.

        A message that breaks the protocol ends the round for this client: it answers
        with an abort, keeps the reason in ``fault`` and drops its secrets.

        Args:
            data: One whole message, as received.

        Returns:
            Messages to the server, possibly none; none at all once aborted.

        Raises:
            ParameterError: ``data`` is not bytes, or ``rng`` is broken (caller).
        """
        if not isinstance(data, bytes):
            raise ParameterError(
                f"data is {type(data).__name__}; pass the bytes received.",
                argument="data",
            )
        if self._state is State.ABORTED:
            return ()
        before, self._state = self._state, State.ABORTED  # unless all goes well
        step = ""
        try:
            message = decode(data, self._limits)
            step = str(message.STEP or "")
            self._state, replies = self._handle(message, before)
            return replies
        except (RemoteProtocolError, AbortError) as error:
            if isinstance(error, RemoteProtocolError):
                error.peer = error.peer or SERVER
            error.step = error.step or step
            self._fault = error
            return (Abort(self._round_id).encode(),)
        finally:
            if self._state in FINAL_STATES:
                self._forget()

    def _handle(
        self, message: ProtocolMessage, before: State
    ) -> tuple[State, tuple[bytes, ...]]:
        """Do one step; return the state after it and the replies."""
        if isinstance(message, Abort):
            raise AbortError("the server ended the round.")
        if self._round_id not in (NO_ROUND, message.round_id):
            raise RemoteProtocolError("a message belongs to another round.")
        match message:
            case Invite():
                following = advance(Role.CLIENT, before, Event.INVITE)
                return following, self._advertise(message)
            case KeyList():
                following = advance(Role.CLIENT, before, Event.KEY_LIST)
                return following, self._share(message)
            case ShareDelivery():
                following = advance(Role.CLIENT, before, Event.SHARE_DELIVERY)
                self._hold(message)
                return following, self._upload() if self._offer else ()
            case UnmaskRequest():
                following = advance(Role.CLIENT, before, Event.UNMASK_REQUEST)
                return following, self._unmask(message)
            case _:
                raise RemoteProtocolError("the server sent a client's message.")

    def _advertise(self, invite: Invite) -> tuple[bytes, ...]:
        """Step 0: check what is proposed, draw the keys of the round."""
        if invite.plan != self._plan:
            raise RemoteProtocolError("the server proposes a plan other than agreed.")
        if self._me not in invite.roster:
            raise RemoteProtocolError(f"the roster does not list {self._me!r}.")
        if self._offer and len(self._offer.rounded) != invite.length:
            raise RemoteProtocolError(
                f"the round sums {invite.length} values, the vector offered has "
                f"{len(self._offer.rounded)}."
            )
        if self._policy.roster is not None:
            for name in invite.roster:
                if name not in self._policy.roster:
                    raise AuthenticationError(
                        f"{name!r} is not in the policy's roster."
                    )
        me = invite.roster.index(self._me)
        where = encode.layout(
            self._plan.encoder, clients=self._plan.clients, length=invite.length
        )
        self._limits = Limits(self._plan.clients, where.packed_bytes)
        self._round_id = invite.round_id
        box_key = AgreementKey.generate(self._rng)
        mask_key = AgreementKey.generate(self._rng)
        seed = Secret(draw(self._rng, SECRET_BYTES))
        self._round = _Round(invite, me, box_key, mask_key, seed)
        keys = PublicKeys(me, box_key.public, mask_key.public)
        if self._key is not None:
            signed = keys.signed_bytes(self._round_id, self._me)
            keys = PublicKeys(
                me, keys.box_public, keys.mask_public, self._key.sign(signed)
            )
        return (Advertise(self._round_id, keys).encode(),)

    def _share(self, key_list: KeyList) -> tuple[bytes, ...]:
        """Step 1: check everybody's keys, deal both secrets to all others."""
        mine = self._in_round()
        u1 = {keys.index: keys for keys in key_list.keys}
        self._require(len(u1), "share_keys")
        own = u1.pop(mine.me, None)
        if own is None or (own.box_public, own.mask_public) != (
            mine.box_key.public,
            mine.mask_key.public,
        ):
            raise RemoteProtocolError("the key list does not hold this client's keys.")
        for keys in u1.values():
            self._check_identity(mine.invite, keys)
        agreed = {
            index: mine.box_key.agree(keys.box_public) for index, keys in u1.items()
        }
        boxes = deal_boxes(
            agreed,
            secrets=(mine.mask_key.secret(), mine.seed),
            threshold=self._plan.share_threshold,
            round_id=self._round_id,
            dealer=mine.me,
            rng=self._rng,
        )
        self._peers = _Peers(u1, key_list.digest(), agreed)
        commitment = seed_commitment(self._round_id, mine.me, mine.seed)
        return (SealedShares(self._round_id, mine.me, commitment, boxes).encode(),)

    def _hold(self, delivery: ShareDelivery) -> None:
        """Step 2: learn u2 and open the boxes of its members."""
        mine, peers = self._in_round(), self._with_peers()
        dealers = {dealer for dealer, _ in delivery.boxes}
        if delivery.receiver != mine.me or not dealers <= set(peers.u1):
            raise RemoteProtocolError("a share delivery is not for this client's u1.")
        self._require(len(dealers) + 1, "masked_input")
        held: dict[int, HeldShares] = {}
        for dealer, box in delivery.boxes:
            route = Route(self._round_id, dealer, mine.me)
            try:
                held[dealer] = open_box(peers.box_secrets[dealer], route, box)
            except (AuthenticationError, DecodeError):
                # A bad box costs its dealer one share, not the round: this client will
                # reveal nothing for it, and t - 1 others suffice.
                continue
        u2 = frozenset(dealers | {mine.me})
        agreed = {
            v: mine.mask_key.agree(peers.u1[v].mask_public) for v in sorted(dealers)
        }
        self._peers = _Peers(peers.u1, peers.key_list, {}, held, u2, agreed)

    def _upload(self) -> tuple[bytes, ...]:
        """Step 2: encode, mask, and drop what is needed no more."""
        mine, peers, offer = self._in_round(), self._with_peers(), self._offer
        if offer is None:
            raise RemoteProtocolError("no vector was offered.")
        plan = self._plan
        where = encode.layout(
            plan.encoder, clients=plan.clients, length=mine.invite.length
        )
        binding = masks.Binding(self._round_id, peers.key_list)
        words = encode.encode(
            where, offer.rounded, offer.weight, self._round_id + offer.context
        )
        own = masks.self_key(
            mine.seed, owner=mine.me, binding=binding, context=offer.context
        )
        pairs = {
            v: masks.pair_key(
                agreed, pair=(mine.me, v), binding=binding, context=offer.context
            )
            for v, agreed in peers.mask_secrets.items()
        }
        masks.add_masks(words, me=mine.me, own=own, pairs=pairs)
        self._offer = None
        mine.seed.wipe()
        for agreed in peers.mask_secrets.values():
            agreed.wipe()
        packed = where.ring.pack(words)
        message = MaskedInput(self._round_id, mine.me, offer.context, packed)
        return (message.encode(),)

    def _unmask(self, request: UnmaskRequest) -> tuple[bytes, ...]:
        """Step 3: reveal one share per other client, once."""
        mine, peers = self._in_round(), self._with_peers()
        u3 = frozenset(request.survivors)
        if not u3 <= peers.u2 or mine.me not in u3:
            raise RemoteProtocolError(
                "an unmask request must name this client and only clients of u2."
            )
        self._require(len(u3), "unmask")
        revealed = []
        for owner, shares in sorted(peers.held.items()):
            kind = ShareKind.SELF_MASK if owner in u3 else ShareKind.MASK_KEY
            revealed.append(RevealedShare(owner, kind, shares.of(kind).value))
        return (UnmaskShares(self._round_id, mine.me, tuple(revealed)).encode(),)

    def _check_identity(self, invite: Invite, keys: PublicKeys) -> None:
        """Check the signature over a peer's keys, if the policy has a roster."""
        if keys.index >= len(invite.roster):
            raise RemoteProtocolError("the key list names a client not invited.")
        if self._policy.roster is None:
            return
        name = invite.roster[keys.index]
        signed = keys.signed_bytes(self._round_id, name)
        try:
            verify(self._policy.roster[name], signed, keys.signature)
        except AuthenticationError as error:
            error.peer, error.step = name, "share_keys"
            raise

    def _require(self, have: int, step: str) -> None:
        need = self._plan.threshold
        if have < need:
            raise AbortError(
                f"only {have} clients are left in step {step}, {need} are needed.",
                step=step,
                need=need,
                have=have,
            )

    def _in_round(self) -> _Round:
        if self._round is None:
            raise RemoteProtocolError("no invitation was accepted.")
        return self._round

    def _with_peers(self) -> _Peers:
        if self._peers is None:
            raise RemoteProtocolError("no key list was accepted.")
        return self._peers

    def _forget(self) -> None:
        """Drop secrets and inputs; CPython may keep copies in freed memory."""
        if self._round is not None:
            self._round.seed.wipe()
        self._offer = self._round = self._peers = None
