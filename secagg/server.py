"""The server's side of a round: bytes in, bytes out.

Bonawitz et al., CCS 2017, figure 4, semi-honest setting.  A ``Server`` serves one
round.  It does no I/O but through the store that it is given, keeps no clock and draws
no randomness; ``timeout()`` tells it that time is up.  Whatever clients send, the
outcome is the exact sum over u3 or a typed error: a client that breaks the protocol is
recorded in ``faults`` and left out.

What it does not do: it does not authenticate connections (the transport says who sent
what), and it learns contexts and dropouts in clear.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np

from secagg.encode import MeanType, layout
from secagg.errors import (
    AbortError,
    LocalProtocolError,
    ParameterError,
    RemoteProtocolError,
    StoreError,
    without_frames,
)
from secagg.faults import Fault, FaultLog
from secagg.feasibility import MIN_HONEST
from secagg.gate import check_expected
from secagg.invite import SERVER, Invite, Limits, Step
from secagg.journal import Journal, NoJournal
from secagg.messages import Abort, decode
from secagg.monitor import Release
from secagg.params import Plan
from secagg.policy import check_identities
from secagg.states import FINAL_STATES, Event, Role, State, advance
from secagg.tally import Outcome, Tally
from secagg.threads import default_threads

Outgoing = tuple[tuple[str, bytes], ...]
"""(receiver, message) pairs, for the transport."""

_STEPS = {
    State.ADVERTISING: Step.ADVERTISE_KEYS,
    State.SHARING: Step.SHARE_KEYS,
    State.MASKING: Step.MASKED_INPUT,
    State.UNMASKING: Step.UNMASK,
}


class Server:
    """The server in one round.

    Args:
        plan: The agreed plan.
        roster: Names of the clients invited, ``plan.clients`` of them.
        session: 1..256 bytes that name this round; never use them twice.
        length: Values in each vector.
        identities: Ed25519 public keys by name; if given, a client whose keys are not
            signed by its own is left out before its peers see them.
        store: A ``Store``: no session is started twice, over restarts too, and a sum
            is asked for only if ``monitor.check_release`` lets it pass after all sums
            recorded there, with ``corrupt + 2`` clients at least.  None: nothing is
            remembered, and neither is guaranteed.
        dtype: Of the mean, ``numpy.float32`` or ``numpy.float64``.

    Raises:
        ParameterError: An argument does not fit the plan, or ``BLINDSUM_THREADS`` is no
            positive integer (caller).
    """

    def __init__(
        self,
        plan: Plan,
        roster: Sequence[str],
        *,
        session: bytes,
        length: int,
        identities: Mapping[str, bytes] | None = None,
        store: Journal | None = None,
        dtype: MeanType = np.float32,
    ) -> None:
        if dtype not in (np.float32, np.float64):
            raise ParameterError(
                f"dtype={dtype!r} must be numpy.float32 or numpy.float64.",
                argument="dtype",
            )
        default_threads()  # a setting that is wrong is told before the round begins
        self._journal = NoJournal() if store is None else store
        self._invite = Invite(session, plan, tuple(roster), length)
        self._round_id = self._invite.round_id
        self._plan = plan
        where = layout(plan.encoder, clients=plan.clients, length=length)
        self._limits = Limits(plan.clients, where.packed_bytes)
        self._index = {name: i for i, name in enumerate(self._invite.roster)}
        if identities is not None:
            identities = check_identities("identities", identities)
        self._tally = Tally(self._invite, identities, dtype)
        self._state = State.CREATED
        self._waiting: set[int] = set()
        self._gone: set[int] = set()
        self._faults = FaultLog()
        self._failure: AbortError | None = None
        self._outcome: Outcome | None = None

    @property
    def state(self) -> State:
        """What the server waits for."""
        return self._state

    @property
    def finished(self) -> bool:
        """True once ``result`` answers, with a sum or with an error."""
        return self._state in FINAL_STATES

    @property
    def faults(self) -> tuple[Fault, ...]:
        """What clients did wrong so far; at most 8 entries per client."""
        return tuple(self._faults)

    @property
    def waiting_for(self) -> frozenset[str]:
        """Clients whose answer in this step is still out."""
        return frozenset(self._invite.roster[index] for index in self._waiting)

    def __repr__(self) -> str:
        return f"Server(clients={self._plan.clients}, state={self._state.value!r})"

    def start(self) -> Outgoing:
        """Open the round.

        Returns:
            The invitations to send.

        Raises:
            LocalProtocolError: The round was started before (caller).
            AbortError: The store knows that the session was started before.
            StoreError: The store cannot be used.
        """
        following = advance(Role.SERVER, self._state, Event.START)
        with self._ending():
            self._record_step(following)
        self._state = following
        self._waiting = set(self._index.values())
        return self._to(self._waiting, self._invite.encode())

    def receive(self, peer: str, data: bytes) -> Outgoing:
        """Take one message of a client.

        Late, repeated and foreign messages are recorded in ``faults`` and change
        nothing.  A client whose message is this step's but breaks the protocol is
        recorded, told to stop, and left out from here on.

        Args:
            peer: Who sent it, as the transport has established.
            data: One whole message, as received.

        Returns:
            Messages to send, possibly none.

        Raises:
            ParameterError: ``peer`` was not invited or ``data`` is not bytes (caller).
            LocalProtocolError: The round was not started (caller).
            StoreError: The store cannot be used; the round is over.
        """
        if peer not in self._index:
            raise ParameterError(
                f"peer {peer!r} was not invited; route its messages elsewhere.",
                argument="peer",
            )
        if not isinstance(data, bytes):
            raise ParameterError(
                f"data is {type(data).__name__}; pass the bytes received.",
                argument="data",
            )
        if self._state is State.CREATED:
            raise LocalProtocolError("the round was not started; call start() first.")
        index = self._index[peer]
        try:
            check_expected(
                data,
                round_id=self._round_id,
                state=self._state,
                waiting=index in self._waiting,
                gone=index in self._gone,
            )
        except RemoteProtocolError as error:
            self._record(peer, error)
            return ()
        try:
            self._tally.accept(index, decode(data, self._limits))
        except RemoteProtocolError as error:
            self._record(peer, error)
            self._gone.add(index)
            self._waiting.discard(index)
            stop = self._to({index}, Abort(self._round_id).encode())
            return stop + self._close_if_complete()
        except BaseException:  # half of its vector may be in the sum
            with self._ending():
                raise
        self._waiting.discard(index)
        return self._close_if_complete()

    def timeout(self) -> Outgoing:
        """Close the step: whoever has not answered has dropped out.

        Returns:
            Messages that open the next step, or that end the round if fewer than
            ``plan.threshold`` clients are left.

        Raises:
            LocalProtocolError: No step is open (caller).
            StoreError: The store cannot be used; the round is over.
        """
        advance(Role.SERVER, self._state, Event.CLOSE)
        return self._close() + self._close_if_complete()

    def result(self) -> Outcome:
        """Return the sum.

        Raises:
            LocalProtocolError: The round is still running (caller).
            IntegrityError: The unmasked words are not a sum, or the clients disagree
                about the context.
            AbortError: Too few clients were left, or the store forbade the sum.
        """
        if self._failure is not None:
            raise self._failure
        if self._outcome is None:
            raise LocalProtocolError(
                f"the round is {self._state.value}; call result() when finished is "
                "true."
            )
        return self._outcome

    def _close_if_complete(self) -> Outgoing:
        sent: Outgoing = ()
        while not self._waiting and self._state not in FINAL_STATES:
            sent += self._close()
        return sent

    def _close(self) -> Outgoing:
        """End the open step and open the next, or end the round."""
        closing = self._state
        following = advance(Role.SERVER, closing, Event.CLOSE)
        try:
            with self._ending():
                sent = self._next(closing)
                self._record_step(following)
        except AbortError as error:
            without_frames(error)  # they came back on its way here
            error.step = error.step or _STEPS[following]
            left = set(self._index.values()) - self._gone
            return self._to(left, Abort(self._round_id).encode())
        self._state = following
        return sent

    @contextmanager
    def _ending(self) -> Iterator[None]:
        """End the round for good unless what is done within goes well."""
        self._state = State.ABORTED
        try:
            yield
        except BaseException as error:
            if isinstance(error, AbortError):
                self._failure = without_frames(error)
            else:  # that the caller gets as it is
                what = "store" if isinstance(error, StoreError) else "server"
                self._failure = AbortError(f"the {what} failed, so no step may follow.")
            self._waiting = set()
            self._tally.forget()
            raise

    def _record_step(self, opened: State) -> None:
        """Tell the journal of a step before any of its requests leaves."""
        step = _STEPS.get(opened)
        session = self._invite.session
        if step is Step.UNMASK:
            names = frozenset(self._invite.roster[index] for index in self._tally.u3)
            release = Release(self._tally.context, names)
            least = self._plan.corrupt + MIN_HONEST
            self._journal.release(SERVER, session, release, least)
        elif step is not None:
            self._journal.record(SERVER, session, step)

    def _next(self, closing: State) -> Outgoing:
        tally, step = self._tally, _STEPS[closing]
        if closing is State.ADVERTISING:
            self._require(len(tally.u1), step)
            self._waiting = set(tally.u1) - self._gone
            return self._each(tally.key_lists(self._waiting))
        if closing is State.SHARING:
            self._require(len(tally.u2), step)
            self._waiting = set(tally.u2) - self._gone
            return self._each(
                {holder: tally.delivery(holder).encode() for holder in self._waiting}
            )
        if closing is State.MASKING:
            self._require(len(tally.u3), step)
            tally.check_contexts()
            self._waiting = set(tally.u3) - self._gone
            return self._each(tally.requests(self._waiting))
        self._require(len(tally.u5), step)
        self._outcome = tally.unmask()
        self._waiting = set()
        tally.forget()
        return ()

    def _require(self, have: int, step: Step) -> None:
        need = self._plan.threshold
        if have < need:
            raise AbortError(
                f"only {have} clients answered in step {step}, {need} are needed; plan "
                "for more dropouts or invite again.",
                step=step,
                need=need,
                have=have,
            )

    def _record(self, peer: str, error: RemoteProtocolError) -> None:
        self._faults.record(peer, str(_STEPS.get(self._state, "")), error)

    def _each(self, messages: Mapping[int, bytes]) -> Outgoing:
        return tuple((self._invite.roster[i], messages[i]) for i in sorted(messages))

    def _to(self, indices: set[int], message: bytes) -> Outgoing:
        return tuple((self._invite.roster[i], message) for i in sorted(indices))
