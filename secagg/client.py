"""The client's side of a round: bytes in, bytes out.

Bonawitz et al., CCS 2017, figure 4, semi-honest setting, with the additions named in
``masks`` and ``boxes``, on the graph of the plan (``graph``).  A ``Client`` serves one
round.  It does no I/O but through the store that it is given, keeps no clock and draws
randomness only from ``rng``.
Guarantee against a semi-honest server with up to ``plan.corrupt`` colluding clients:
nothing about an offered vector leaves but sums over at least ``plan.honest_min`` honest
inputs.

What it does not do: it does not resume a round after a restart, and it is from the
store alone that it knows of earlier rounds.  A server that lies, by telling
different clients of different dropouts or, without a roster, of keys of its own, can
read a single input; docs/protocol.md says how.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from functools import wraps
from typing import Concatenate, NoReturn, ParamSpec, SupportsIndex, TypeVar

from numpy.typing import ArrayLike

from secagg import encode, offered, usage
from secagg.dealing import ShareDelivery
from secagg.draft import Draft
from secagg.errors import (
    AbortError,
    AuthenticationError,
    DecodeError,
    LocalProtocolError,
    ParameterError,
    RemoteProtocolError,
    StoreError,
    without_frames,
)
from secagg.invite import NO_ROUND, SERVER, Invite, Limits, Step
from secagg.journal import Journal, NoJournal
from secagg.keylist import KeyList, NeighbourKeys
from secagg.keys import IdentityKey
from secagg.member import Member, Offer
from secagg.messages import Abort, ProtocolMessage, decode, step_of
from secagg.monitor import Release
from secagg.noise import Noise, add_noise
from secagg.params import Plan
from secagg.policy import Policy
from secagg.prg import KEY_BYTES, Rng, draw
from secagg.reveal import UnmaskRequest
from secagg.states import FINAL_STATES, Event, Role, State, advance
from secagg.threads import default_threads
from secagg.upload import MASKED_HEAD_BYTES

_EVENTS = {
    Invite.TAG: Event.INVITE,
    KeyList.TAG: Event.KEY_LIST,
    NeighbourKeys.TAG: Event.KEY_LIST,
    ShareDelivery.TAG: Event.SHARE_DELIVERY,
    UnmaskRequest.TAG: Event.UNMASK_REQUEST,
}

_Given = ParamSpec("_Given")
_Answer = TypeVar("_Answer")


def _one_at_a_time(
    method: Callable[Concatenate[Client, _Given], _Answer],
) -> Callable[Concatenate[Client, _Given], _Answer]:
    """Let calls from other threads wait: two at once could both use the masks."""

    @wraps(method)
    def alone(self: Client, /, *args: _Given.args, **kwargs: _Given.kwargs) -> _Answer:
        with self._lock:
            return method(self, *args, **kwargs)

    return alone


class Client:
    """One client in one round.

    Args:
        plan: The plan that the caller agreed to; another one proposed is refused.
        policy: What this client accepts; the plan is checked against it at once.
        me: Own name, as in the server's roster.
        key: Ed25519 identity; needed if ``policy.roster`` is given.
        store: A ``Store``, on which each step is recorded before its bytes leave: no
            session is entered twice under this name, over restarts too, no second
            vector or weight leaves under one context, and no sum is helped that
            ``monitor.check_release`` refuses after those this client helped.  None:
            nothing is remembered, and none of these is guaranteed.
        rng: Source of all randomness; leave the default outside simulations.

    Raises:
        ParameterError: No round runs under the plan, it breaks the policy, ``key`` is
            missing or not the one in the roster, or ``BLINDSUM_THREADS`` is no positive
            integer (caller).
    """

    def __init__(
        self,
        plan: Plan,
        policy: Policy,
        *,
        me: str,
        key: IdentityKey | None = None,
        store: Journal | None = None,
        rng: Rng = os.urandom,
    ) -> None:
        plan.require_runnable()
        policy.check(plan)
        default_threads()  # a setting that is wrong is told before the round begins
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
        self._journal = NoJournal() if store is None else store
        self._rng = rng
        self._lock = threading.RLock()
        self._state = State.NEW
        self._fault: RemoteProtocolError | AbortError | None = None
        self._limits = Limits(plan.clients)
        self._round_id = NO_ROUND
        self._offer: Offer | None = None
        self._context = b""
        self._member: Member | None = None

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

    def __reduce__(self) -> NoReturn:
        # A copy would mask another vector with the same keys.
        raise LocalProtocolError("A Client cannot be pickled or copied.")

    def __repr__(self) -> str:
        return f"Client(me={self._me!r}, state={self._state.value!r})"

    @_one_at_a_time
    def offer(
        self,
        vector: ArrayLike,
        *,
        weight: SupportsIndex = 1,
        context: bytes,
        noise: Noise | None = None,
    ) -> tuple[bytes, ...]:
        """Give the vector that this client adds to the sum.

        May be called at any time before the upload, once.  If the arguments are
        refused, nothing was sent and the caller may offer again.

        Args:
            vector: shape (length,), float16, float32 or float64, with an L2 norm of at
                most ``plan.encoder.clip_norm_l2``.
            weight: Integer in 1..weight_max; reaches the server only in the sum.
            context: 32 bytes from ``secagg.context``, equal for all clients.
            noise: ``noise(length, rng)`` returns this client's share of the noise,
                int64, in steps of the encoder; it is called once, with the client's
                own ``rng``, and added after rounding.  Given if and only if
                ``plan.encoder.noise_bits`` has room for it.

        Returns:
            Messages to the server: the upload if it was waited for, else none.

        Raises:
            ParameterError: An argument is outside its range (caller).
            LocalProtocolError: A vector was offered before, or the round is over for
                this client (caller).
            AbortError: The store knows of a later step of this session, or of another
                vector or weight that left under this context.
            StoreError: The store cannot be used; the round is over for this client.
        """
        following = self._call(Event.OFFER)
        agreed = self._plan.encoder
        length = self._member.invite.length if self._member else None
        given = offered.check_form(vector, length=length)
        checked_weight = offered.check_weight(agreed, weight)
        _check_context(context)
        if self._member and self._member.prepared_context not in (None, context):
            raise ParameterError(
                "context is not the one given to prepare(), and its masks serve no "
                "other; offer under that one, or make a new Client for a new round.",
                argument="context",
            )
        mark = b""
        if self._journal.remembers:
            # Before it is read to be encoded: were it after, a vector that changes in
            # between would be marked as what the next offer holds, and pass as equal.
            mark = offered.fingerprint(given, checked_weight)
        clients, length = self._plan.clients, given.size
        where = encode.layout(agreed, clients=clients, length=length)
        key = draw(self._rng, KEY_BYTES)
        draft = Draft(where.ring, where.words, MASKED_HEAD_BYTES)
        encode.encode(
            agreed,
            where,
            given,
            checked_weight,
            context=context,
            key=key,
            into=draft.words,
        )
        add_noise(agreed, where, draft.words, noise, self._rng)
        self._offer = Offer(length, draft, context, mark)
        self._context = context
        if self._member is None or following is not State.UPLOADED:
            self._state = following
            return ()
        self._state = State.ABORTED  # unless all goes well
        try:
            replies = self._upload(self._member)
        except BaseException as error:  # want of memory too: no secret outlives it
            if isinstance(error, AbortError | StoreError):
                self._fault = _reason(error)
            self._forget()
            raise
        self._state = following
        return replies

    @_one_at_a_time
    def prepare(self, context: bytes) -> None:
        """Compute this client's masks while its vector is still being trained.

        May be called once, after the server's share delivery and before ``offer``,
        which then only encodes, adds the masks and packs; the bytes sent are the same.
        Takes one ring word per parameter until then.  It may run in a thread of its
        own; other calls of this client wait until it returns.

        Args:
            context: The 32 bytes that ``offer`` will be given; it accepts no others.

        Raises:
            ParameterError: It is not the result of ``secagg.context`` (caller).
            LocalProtocolError: The share delivery has not arrived, a vector was offered
                or masks were prepared before, or the round is over for this client
                (caller).  As after any illegal call, this client aborts.
        """
        try:
            following = self._call(Event.PREPARE)
        except LocalProtocolError as error:
            raise LocalProtocolError(
                f"prepare() comes after the share delivery, before offer(), and once: "
                f"{error}"
            ) from None
        _check_context(context)
        if self._member is not None:
            self._member.prepare(context)
        self._state = following

    @_one_at_a_time
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
            StoreError: The store cannot be used; the round is over for this client.
        """
        if not isinstance(data, bytes):
            raise ParameterError(
                f"data is {type(data).__name__}; pass the bytes received.",
                argument="data",
            )
        if self._state is State.ABORTED:
            return ()
        before, self._state = self._state, State.ABORTED  # unless all goes well
        try:
            message = decode(data, self._limits)
            self._state, replies = self._handle(message, before)
            return replies
        except StoreError as error:
            self._fault = _reason(error)
            raise
        except (RemoteProtocolError, AbortError) as error:
            if isinstance(error, RemoteProtocolError):
                error.peer = error.peer or SERVER
            error.step = error.step or _named_step(data)
            self._fault = without_frames(error)
            return (Abort(self._round_id).encode(),)
        finally:
            if self._state in FINAL_STATES:
                self._forget()

    def _call(self, event: Event) -> State:
        """Return the state after a call by the caller; an illegal one ends it all."""
        try:
            return advance(Role.CLIENT, self._state, event)
        except LocalProtocolError:
            if self._state is not State.FINISHED:
                self._state = State.ABORTED
            self._forget()
            raise

    def _handle(
        self, message: ProtocolMessage, before: State
    ) -> tuple[State, tuple[bytes, ...]]:
        """Do one step; return the state after it and the replies."""
        if self._round_id not in (NO_ROUND, message.round_id):
            raise RemoteProtocolError("a message belongs to another round.")
        if isinstance(message, Abort):  # not answered: the server knows
            self._fault = AbortError("the server ended the round.")
            return State.ABORTED, ()
        event = _EVENTS.get(message.TAG)
        if event is None:
            raise RemoteProtocolError("the server sent a client's message.")
        following = advance(Role.CLIENT, before, event)
        if isinstance(message, Invite):
            replies = (self._join(message).advertise().encode(),)
            self._record(message.session, Step.ADVERTISE_KEYS)
            return following, replies
        member = self._member
        if member is None:
            raise RemoteProtocolError("no invitation was accepted.")
        match message:
            case KeyList() | NeighbourKeys():
                replies = (member.share(message).encode(),)
                self._record(member.invite.session, Step.SHARE_KEYS)
                return following, replies
            case ShareDelivery():
                member.hold(message)
                return following, self._upload(member)
            case UnmaskRequest():
                replies = (member.unmask(message).encode(),)
                self._record_release(member.invite, message.survivors)
                return following, replies
            case _:
                raise RemoteProtocolError("the server sent a client's message.")

    def _join(self, invite: Invite) -> Member:
        """Check what is proposed against what was agreed, and draw the keys."""
        if invite.plan != self._plan:
            raise RemoteProtocolError("the server proposes a plan other than agreed.")
        if self._me not in invite.roster:
            raise RemoteProtocolError(f"the roster does not list {self._me!r}.")
        if self._offer and self._offer.length != invite.length:
            raise RemoteProtocolError(
                f"the round sums {invite.length} values, the vector offered has "
                f"{self._offer.length}."
            )
        if self._policy.roster is not None:
            for name in invite.roster:
                if name not in self._policy.roster:
                    raise AuthenticationError(
                        f"{name!r} is not in the policy's roster."
                    )
        self._round_id = invite.round_id
        self._member = Member(
            invite, self._policy, name=self._me, key=self._key, rng=self._rng
        )
        packed_bytes = self._member.layout.packed_bytes
        self._limits = Limits(self._plan.clients, packed_bytes)
        return self._member

    def _upload(self, member: Member) -> tuple[bytes, ...]:
        """Send the masked input if a vector is there; then drop the vector."""
        offer, self._offer = self._offer, None
        if offer is None:
            return ()
        replies = (member.upload(offer),)
        mark = offer.fingerprint
        session = member.invite.session
        self._journal.upload(self._me, session, self._context, mark)
        return replies

    def _record(self, session: bytes, step: Step) -> None:
        """Tell the journal of a step; its bytes may leave once this returns."""
        self._journal.record(self._me, session, step)

    def _record_release(self, invite: Invite, survivors: frozenset[int]) -> None:
        """The same for the last step, if the sum over u3 may be released at all."""
        cohort = frozenset(invite.roster[index] for index in survivors)
        self._journal.release(
            self._me,
            invite.session,
            Release(self._context, cohort),
            self._policy.min_difference(self._plan),
        )

    def _forget(self) -> None:
        """Drop secrets and inputs."""
        if self._member is not None:
            self._member.forget()
        self._offer = self._member = None


def _reason(error: AbortError | StoreError) -> AbortError:
    """Return what to keep of an error that is also raised, without its frames."""
    if isinstance(error, StoreError):
        return AbortError("the store failed, so no step may follow.")
    return AbortError(str(error), step=error.step, need=error.need, have=error.have)


def _named_step(data: bytes) -> str:
    """Return the step that a message says it belongs to, if its header is one."""
    try:
        return str(step_of(data) or "")
    except DecodeError:
        return ""


def _check_context(context: bytes) -> None:
    if not isinstance(context, bytes) or len(context) != usage.DIGEST_BYTES:
        raise ParameterError(
            "context must be the 32 bytes of secagg.context(...).",
            argument="context",
        )
