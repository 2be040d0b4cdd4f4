"""What the server has been sent in a round, checked on arrival.

Bonawitz et al., CCS 2017, figure 4, the server's column.  A ``Tally`` checks each
answer against the earlier ones before it keeps anything of it, builds the next requests
from what it kept, and in the end takes the masks off.  The sets u1, u2, u3 and u5 are
the clients whose answers it kept in the four steps.

It does not decide when a step ends or who may still answer; that is ``server``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from secagg import encode
from secagg.boxes import Box, Route, ShareKind, check_share
from secagg.dealing import SealedShares, ShareDelivery
from secagg.errors import AuthenticationError, IntegrityError, RemoteProtocolError
from secagg.graph import server_graph
from secagg.invite import Invite, Step
from secagg.keylist import Advertise, KeyList, NeighbourKeys, PublicKeys
from secagg.keys import check_public, verify
from secagg.masks import Binding
from secagg.messages import ProtocolMessage
from secagg.recovery import Published, unmask
from secagg.reveal import UnmaskRequest, UnmaskShares
from secagg.ring import RingVector
from secagg.shamir import Share
from secagg.sums import UploadSum
from secagg.upload import MaskedInput

Mean: TypeAlias = NDArray[np.float32] | NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """The sum of a round.

    Attributes:
        mean: Weighted mean over the survivors, shape (length,), float32, or float64 if
            the server was asked for it.
        weight: Total weight of the survivors.
        survivors: u3, whose inputs are in the sum.
        max_error: Bound on |mean - true weighted mean| per coordinate.
    """

    mean: Mean = field(repr=False)
    weight: int
    survivors: frozenset[str]
    max_error: float


class Tally:
    """The answers kept so far.

    Args:
        invite: The invitation of the round.
        identities: Ed25519 public keys by name, if keys must be signed.
        dtype: Of the mean.
    """

    def __init__(
        self,
        invite: Invite,
        identities: Mapping[str, bytes] | None,
        dtype: encode.MeanType = np.float32,
    ) -> None:
        plan = invite.plan
        self._dtype = dtype
        self._invite = invite
        self._round_id = invite.round_id
        self._graph = server_graph(plan, invite.round_id)
        self._identities = identities
        self._where = encode.layout(
            plan.encoder, clients=plan.clients, length=invite.length
        )
        self._keys: dict[int, PublicKeys] = {}
        self._publics: set[bytes] = set()
        self._key_list = b""
        self._dealt: dict[int, dict[int, Box]] = {}  # dealer -> holder -> box
        self._seed_commitments: dict[int, bytes] = {}
        self._contexts: dict[int, bytes] = {}
        self._total = UploadSum(self._where.ring, self._where.words)
        self._revealed: dict[int, list[Share]] = {}  # owner -> shares of it
        self._answered: set[int] = set()

    @property
    def u1(self) -> frozenset[int]:
        """Clients that advertised keys."""
        return frozenset(self._keys)

    @property
    def u2(self) -> frozenset[int]:
        """Clients that dealt shares."""
        return frozenset(self._dealt)

    @property
    def u3(self) -> frozenset[int]:
        """Clients whose masked inputs are in the sum."""
        return frozenset(self._contexts)

    @property
    def u5(self) -> frozenset[int]:
        """Clients that answered the unmask request."""
        return frozenset(self._answered)

    @property
    def context(self) -> bytes:
        """What the inputs were offered under, once ``check_contexts`` found it one."""
        return next(iter(self._contexts.values()))

    def accept(self, index: int, message: ProtocolMessage) -> None:
        """Check one answer in full, then keep what later steps need of it.

        Raises:
            RemoteProtocolError: The answer breaks the protocol; nothing was kept
                (peer).
        """
        if not isinstance(
            message, Advertise | SealedShares | MaskedInput | UnmaskShares
        ):
            raise RemoteProtocolError("the client ended its part of the round.")
        if message.sender != index:
            raise RemoteProtocolError("a message names another client as its sender.")
        match message:
            case Advertise():
                self._accept_keys(message.keys)
            case SealedShares():
                self._accept_boxes(message)
            case MaskedInput():
                self._accept_input(message)
            case UnmaskShares():
                self._accept_shares(message)

    def key_lists(self, receivers: Iterable[int]) -> dict[int, bytes]:
        """Close step 0: fix u1, bind the masks to it; encode what each receives."""
        keys = tuple(self._keys[index] for index in sorted(self._keys))
        everybody = KeyList(self._round_id, keys)
        self._key_list = everybody.digest()
        if self._invite.plan.complete:
            return dict.fromkeys(receivers, everybody.encode())
        return {
            receiver: NeighbourKeys(
                self._round_id,
                receiver,
                self._key_list,
                tuple(self._keys[v] for v in self._around(receiver, self.u1)),
            ).encode()
            for receiver in receivers
        }

    def delivery(self, holder: int) -> ShareDelivery:
        """Collect the boxes that the neighbours in u2 dealt to one client."""
        dealers = sorted(self._graph.neighbours(holder) & self._dealt.keys())
        boxes = tuple((dealer, self._dealt[dealer][holder]) for dealer in dealers)
        return ShareDelivery(self._round_id, holder, boxes)

    def requests(self, receivers: Iterable[int]) -> dict[int, bytes]:
        """Close step 2: encode u3 for each client."""
        u3 = self.u3
        return {
            receiver: UnmaskRequest(self._round_id, receiver, u3).encode()
            for receiver in receivers
        }

    def check_contexts(self) -> None:
        """End the round before any unmasking if the clients disagree.

        Raises:
            IntegrityError: There is more than one context; the fewest are named.
        """
        groups: dict[bytes, list[str]] = {}
        for index, context in sorted(self._contexts.items()):
            groups.setdefault(context, []).append(self._invite.roster[index])
        if len(groups) > 1:
            fewest = ", ".join(sorted(groups.values(), key=len)[0])
            raise IntegrityError(
                f"clients offered under {len(groups)} different contexts (differing: "
                f"{fewest}); give all of them the same model and configuration.",
                step=Step.MASKED_INPUT,
            )

    def unmask(self) -> Outcome:
        """Close step 3: take the masks off the sum and decode it.

        Raises:
            AbortError: Some secret cannot be reconstructed.
            IntegrityError: The result is not a sum of encoded inputs.
        """
        context = self.context
        published = Published(
            names=self._invite.roster,
            binding=Binding(self._round_id, self._key_list),
            context=context,
            mask_publics={u: self._keys[u].mask_public for u in self._dealt},
            seed_commitments=self._seed_commitments,
            share_threshold=self._invite.plan.t,
            graph=self._graph,
            cipher=self._invite.plan.cipher,
        )
        total = self._total.take()
        unmask(total, published, u3=self.u3, shares=self._revealed)
        mean, weight, max_error = self._read(total)
        return Outcome(
            mean=mean,
            weight=weight,
            survivors=frozenset(self._invite.roster[index] for index in self.u3),
            max_error=max_error,
        )

    def _read(self, total: RingVector) -> tuple[Mean, int, float]:
        """Decode the sum, in its own memory where the mean is no longer."""
        kind, length = np.dtype(self._dtype), self._where.length
        within = kind.itemsize <= total.itemsize
        mean: Mean = total.view(kind)[:length] if within else np.empty(length, kind)
        decoded = encode.decode_sum(
            self._invite.plan.encoder,
            self._where,
            total,
            self._round_id,
            self.context,
            clients=len(self.u3),
            into=mean,
        )
        weight, max_error = decoded.weight, decoded.max_error
        if within:
            del mean, decoded  # no view is left, so that what is behind can be freed
            needed = -(-length * kind.itemsize // total.itemsize)
            total.resize(needed, refcheck=False)
            mean = total.view(kind)[:length]
        return mean, weight, max_error

    def forget(self) -> None:
        """Drop masked vectors and shares once they are of no more use."""
        self._revealed = {}
        self._dealt = {}
        self._total.clear()

    def _around(self, client: int, members: frozenset[int]) -> tuple[int, ...]:
        """Return a client and its neighbours, as far as they are members, sorted."""
        near = self._graph.neighbours(client) | {client}
        return tuple(sorted(near & members))

    def _accept_keys(self, keys: PublicKeys) -> None:
        publics = {keys.box_public, keys.mask_public}
        for public in publics:
            check_public(public)
        if self._identities is not None:
            name = self._invite.roster[keys.index]
            if name not in self._identities:
                raise AuthenticationError("the client has no known identity.")
            signed = keys.signed_bytes(self._round_id, name)
            verify(self._identities[name], signed, keys.signature)
        if len(publics) != 2 or publics & self._publics:
            raise RemoteProtocolError("a public key was advertised twice.")
        self._publics |= publics
        self._keys[keys.index] = keys

    def _accept_boxes(self, message: SealedShares) -> None:
        boxes = dict(message.boxes)
        if boxes.keys() != self._graph.neighbours(message.sender) & self._keys.keys():
            raise RemoteProtocolError(
                "shares were not dealt to exactly the neighbours."
            )
        self._dealt[message.sender] = boxes
        self._seed_commitments[message.sender] = message.seed_commitment

    def _accept_input(self, message: MaskedInput) -> None:
        self._total.add(message.packed)
        self._contexts[message.sender] = message.context

    def _accept_shares(self, message: UnmaskShares) -> None:
        holder = message.sender
        accepted: list[tuple[int, Share]] = []
        for revealed in message.shares:
            owner = revealed.owner
            if holder not in self._dealt.get(owner, {}):
                raise RemoteProtocolError("a share came of a client that dealt none.")
            wanted = (
                ShareKind.SELF_MASK if owner in self._contexts else ShareKind.MASK_KEY
            )
            if revealed.kind is not wanted:
                raise RemoteProtocolError("a share of the wrong kind was revealed.")
            share = Share(holder + 1, revealed.value)
            commitment = self._dealt[owner][holder].commitment(wanted)
            route = Route(self._round_id, owner, holder)
            check_share(route, wanted, share, commitment)
            accepted.append((owner, share))
        for owner, share in accepted:
            self._revealed.setdefault(owner, []).append(share)
        self._answered.add(holder)
