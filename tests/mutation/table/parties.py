"""Mutants of the two parties: transitions, gate, client and server."""

from __future__ import annotations

from tests.mutation.mutant import Bug, mutant

_TABLE_ENDS = "        (Role.SERVER, State.UNMASKING, Event.CLOSE): State.FINISHED,\n"


def _also(row: str) -> tuple[str, str, str]:
    """Add a row to the table of transitions."""
    return "states.py", _TABLE_ENDS, f"{_TABLE_ENDS}        {row},\n"


MUTANTS = (
    # states.py
    mutant(
        "client-answers-a-second-unmask-request",
        Bug.ORDER,
        (
            (
                "states.py",
                "(Role.CLIENT, State.UPLOADED, Event.UNMASK_REQUEST): State.FINISHED,",
                "(Role.CLIENT, State.UPLOADED, Event.UNMASK_REQUEST): State.UPLOADED,",
            ),
        ),
        "states",
        "two requests that differ get both shares of one client",
    ),
    mutant(
        "client-unmasks-before-it-uploads",
        Bug.ORDER,
        _also("(Role.CLIENT, State.READY, Event.UNMASK_REQUEST): State.FINISHED"),
        "states",
        "a server asks for shares before there is an upload",
    ),
    mutant(
        "client-unmasks-before-it-holds-shares",
        Bug.ORDER,
        _also("(Role.CLIENT, State.SHARED, Event.UNMASK_REQUEST): State.FINISHED"),
        "states",
        "a step is left out",
    ),
    mutant(
        "client-takes-a-second-key-list",
        Bug.ORDER,
        _also(
            "(Role.CLIENT, State.SHARED_OFFERED, Event.KEY_LIST): State.SHARED_OFFERED"
        ),
        "states",
        "a client deals its secrets twice, to two cohorts",
    ),
    mutant(
        "client-takes-a-second-delivery",
        Bug.ORDER,
        _also("(Role.CLIENT, State.UPLOADED, Event.SHARE_DELIVERY): State.UPLOADED"),
        "states",
        "a server tells a client of another u2 after its upload",
    ),
    mutant(
        "client-takes-a-second-invitation",
        Bug.ORDER,
        _also("(Role.CLIENT, State.ADVERTISED, Event.INVITE): State.ADVERTISED"),
        "states",
        "a client takes part in two rounds",
    ),
    mutant(
        "client-offers-twice",
        Bug.ORDER,
        _also("(Role.CLIENT, State.NEW_OFFERED, Event.OFFER): State.NEW_OFFERED"),
        "states",
        "two vectors were meant for one set of masks",
    ),
    mutant(
        "client-offers-after-its-upload",
        Bug.ORDER,
        _also("(Role.CLIENT, State.UPLOADED, Event.OFFER): State.UPLOADED"),
        "states",
        "two vectors under one set of masks give their difference",
    ),
    mutant(
        "server-takes-late-uploads",
        Bug.ORDER,
        _also("(Role.SERVER, State.UNMASKING, Event.MASKED_INPUT): State.UNMASKING"),
        "states",
        "an upload is kept whose mask key is about to be revealed",
    ),
    mutant(
        "server-takes-late-shares",
        Bug.ORDER,
        _also("(Role.SERVER, State.MASKING, Event.SEALED_SHARES): State.MASKING"),
        "states",
        "u2 grows after it was told to the clients",
    ),
    mutant(
        "server-takes-late-keys",
        Bug.ORDER,
        _also("(Role.SERVER, State.SHARING, Event.ADVERTISE): State.SHARING"),
        "states",
        "u1 grows after it was told to the clients",
    ),
    mutant(
        "server-starts-twice",
        Bug.ORDER,
        _also("(Role.SERVER, State.ADVERTISING, Event.START): State.ADVERTISING"),
        "states",
        "two invitations to one round",
    ),
    mutant(
        "callers-faults-are-the-peers",
        Bug.BLAME,
        ("states.py", "if event in LOCAL_EVENTS:", "if event not in LOCAL_EVENTS:"),
        "states",
        "a peer's message raises at the caller, and the caller's mistake does not",
    ),
    # gate.py
    mutant(
        "gate-open-after-the-end",
        Bug.CHECK,
        ("gate.py", "if state in FINAL_STATES:", "if False:"),
        "client_server fail_closed",
        "a message after the end is not recorded as such",
    ),
    mutant(
        "gate-lets-other-rounds-in",
        Bug.CHECK,
        ("gate.py", "if named != round_id:", "if False:"),
        "client_server",
        "an answer of another round is taken for one of this",
    ),
    mutant(
        "gate-lets-repeats-in",
        Bug.CHECK,
        ("gate.py", "if not waiting:", "if False:"),
        "client_server",
        "an upload is added twice",
    ),
    mutant(
        "gate-lets-out-of-step-in",
        Bug.CHECK,
        ("gate.py", "    advance(Role.SERVER, state, event)\n", ""),
        "client_server",
        "a late upload is added after its mask key was revealed",
    ),
    mutant(
        "gate-counts-aborts-twice",
        Bug.CHECK,
        (
            "gate.py",
            "if tag == Abort.TAG and not gone:",
            "if tag == Abort.TAG:",
        ),
        "client_server",
        "a client that is gone is still heard",
    ),
    mutant(
        "gate-hears-strangers-aborts-twice",
        Bug.CHECK,
        (
            "gate.py",
            "if tag == Abort.TAG and named == NO_ROUND and not gone:",
            "if tag == Abort.TAG and named == NO_ROUND:",
        ),
        "client_server",
        "a client that is gone is still heard",
    ),
    mutant(
        "gate-hears-aborts-of-other-rounds",
        Bug.CHECK,
        (
            "gate.py",
            "if tag == Abort.TAG and named == NO_ROUND and not gone:",
            "if tag == Abort.TAG and not gone:",
        ),
        "client_server",
        "a replayed abort of an earlier round puts a client out of this one",
    ),
    mutant(
        "gate-event-mixed-up",
        Bug.SWAP,
        (
            "gate.py",
            "MaskedInput.TAG: Event.MASKED_INPUT",
            "MaskedInput.TAG: Event.UNMASK_SHARES",
        ),
        "client_server round",
        "uploads are taken while shares are waited for",
    ),
    # faults.py
    mutant(
        "faults-unbounded",
        Bug.BLAME,
        (
            "faults.py",
            "if self._counts[peer] <= MAX_FAULTS_PER_PEER:",
            "if self._counts[peer]:",
        ),
        "client_server",
        "a client fills the server's memory",
    ),
    mutant(
        "faults-keep-frames",
        Bug.KEPT,
        (
            "faults.py",
            "Fault(peer, step, without_frames(error))",
            "Fault(peer, step, error)",
        ),
        "fail_closed",
        "messages stay alive in the frames of a recorded fault",
    ),
    mutant(
        "faults-name-nobody",
        Bug.BLAME,
        ("faults.py", "error.peer, error.step = peer, step", "error.step = step"),
        "client_server",
        "the error of a fault does not say whose it is",
    ),
    # client.py
    mutant(
        "client-without-policy",
        Bug.CHECK,
        ("client.py", "        policy.check(plan)\n", ""),
        "client_server",
        "a client takes part below its own floors",
    ),
    mutant(
        "client-under-a-plan-against-liars",
        Bug.CHECK,
        ("client.py", "        plan.require_runnable()\n", ""),
        "params",
        "a client believes itself safe from a server that lies",
    ),
    mutant(
        "client-with-another-identity",
        Bug.CHECK,
        (
            "client.py",
            "key is None or policy.roster.get(me) != key.public",
            "key is None",
        ),
        "client_server",
        "a client signs with a key that no peer knows",
    ),
    mutant(
        "client-without-identity",
        Bug.CHECK,
        (
            "client.py",
            "key is None or policy.roster.get(me) != key.public",
            "key is not None and policy.roster.get(me) != key.public",
        ),
        "client_server",
        "a client advertises unsigned keys",
    ),
    mutant(
        "client-copies",
        Bug.REUSE,
        (
            "client.py",
            'raise LocalProtocolError("A Client cannot be pickled or copied.")',
            "return object.__reduce__(self)  # type: ignore[return-value]",
        ),
        "fail_closed",
        "a copy masks another vector with the same keys",
    ),
    mutant(
        "second-offer-does-not-end-the-client",
        Bug.CHECK,
        (
            "client.py",
            "                self._state = State.ABORTED\n            self._forget()",
            "                pass\n            self._forget()",
        ),
        "client_server",
        "a client goes on after it was used out of order",
    ),
    mutant(
        "context-of-any-kind",
        Bug.CHECK,
        (
            "client.py",
            "if not isinstance(context, bytes) or len(context) != usage.DIGEST_BYTES:",
            "if not isinstance(context, bytes):",
        ),
        "client_server fail_closed",
        "a context that is no digest goes into the keys",
    ),
    mutant(
        "errors-do-not-abort",
        Bug.CHECK,
        (
            "client.py",
            "before, self._state = self._state, State.ABORTED",
            "before = self._state",
        ),
        "client_server fuzz",
        "a client goes on after a message that broke the protocol",
    ),
    mutant(
        "aborted-client-answers",
        Bug.CHECK,
        (
            "client.py",
            "if self._state is State.ABORTED:\n            return ()",
            "if False:\n            return ()",
        ),
        "client_server",
        "a client says something after its last word",
    ),
    mutant(
        "ended-client-keeps-its-secrets",
        Bug.KEPT,
        (
            "client.py",
            "        finally:\n            if self._state in FINAL_STATES:",
            "        finally:\n            if False:",
        ),
        "client_server",
        "keys and shares live as long as the client object",
    ),
    mutant(
        "forget-forgets-nothing",
        Bug.KEPT,
        (
            "client.py",
            "        self._offer = self._member = None\n",
            "        pass\n",
        ),
        "client_server",
        "keys and shares live as long as the client object",
    ),
    mutant(
        "client-fault-keeps-frames",
        Bug.KEPT,
        ("client.py", "self._fault = without_frames(error)", "self._fault = error"),
        "fail_closed",
        "keys stay alive in the frames of the stored error",
    ),
    mutant(
        "client-blames-nobody",
        Bug.BLAME,
        (
            "client.py",
            "error.peer = error.peer or SERVER",
            "pass",
        ),
        "client_server",
        "the fault does not say who broke the protocol",
    ),
    mutant(
        "client-takes-other-rounds",
        Bug.CHECK,
        (
            "client.py",
            "if self._round_id not in (NO_ROUND, message.round_id):",
            "if False:",
        ),
        "client_server fail_closed",
        "a client answers a request of another session",
    ),
    mutant(
        "client-takes-steps-out-of-order",
        Bug.CHECK,
        (
            "client.py",
            "        following = advance(Role.CLIENT, before, event)\n"
            "        if isinst",
            "        following = {Event.INVITE: State.ADVERTISED_OFFERED, "
            "Event.KEY_LIST: State.SHARED_OFFERED, Event.SHARE_DELIVERY: "
            "State.UPLOADED, Event.UNMASK_REQUEST: State.FINISHED}[event]\n"
            "        if isinst",
        ),
        "client_server",
        "a server leaves steps out or repeats them",
    ),
    mutant(
        "client-takes-any-plan",
        Bug.CHECK,
        ("client.py", "if invite.plan != self._plan:", "if False:"),
        "client_server",
        "the server's plan replaces the one that was agreed",
    ),
    mutant(
        "client-not-in-the-roster",
        Bug.CHECK,
        ("client.py", "if self._me not in invite.roster:", "if False:"),
        "client_server",
        "a client that was not invited raises at its caller",
    ),
    mutant(
        "client-of-another-length",
        Bug.CHECK,
        (
            "client.py",
            "if self._offer and self._offer.length != invite.length:",
            "if False:",
        ),
        "client_server",
        "a vector of another length is masked",
    ),
    mutant(
        "cohort-outside-the-clients-roster",
        Bug.CHECK,
        (
            "client.py",
            "if name not in self._policy.roster:",
            "if False:",
        ),
        "client_server",
        "a server invites clients of its own making",
    ),
    mutant(
        "client-keeps-its-offer",
        Bug.KEPT,
        (
            "client.py",
            "offer, self._offer = self._offer, None",
            "offer = self._offer",
        ),
        "client_server",
        "the vector lives on after it was masked",
    ),
    mutant(
        "client-answers-an-abort",
        Bug.BLAME,
        (
            "client.py",
            'self._fault = AbortError("the server ended the round.")\n'
            "            return State.ABORTED, ()",
            'raise RemoteProtocolError("the server ended the round.")',
        ),
        "fail_closed",
        "the server is blamed for ending a round cleanly",
    ),
    mutant(
        "client-reads-of-any-size",
        Bug.CHECK,
        (
            "client.py",
            "self._limits = Limits(plan.clients)\n        self._round_id",
            "self._limits = Limits(1 << 16)\n        self._round_id",
        ),
        "client_server fail_closed",
        "an invitation of eight megabytes is read",
    ),
    # server.py
    mutant(
        "server-trusts-any-identities",
        Bug.CHECK,
        (
            "server.py",
            'identities = check_identities("identities", identities)',
            "pass",
        ),
        "fail_closed",
        "whoever holds the dictionary changes whom the server accepts",
    ),
    mutant(
        "server-threshold-off-by-one",
        Bug.OFF_BY_ONE,
        ("server.py", "need = self._plan.threshold", "need = self._plan.threshold - 1"),
        "client_server round",
        "a sum over one client fewer than promised",
    ),
    mutant(
        "server-sums-few-uploads",
        Bug.CHECK,
        (
            "server.py",
            "            self._require(len(tally.u3), step)\n",
            "",
        ),
        "round",
        "a sum over fewer clients than promised",
    ),
    mutant(
        "server-deals-for-few",
        Bug.CHECK,
        (
            "server.py",
            "            self._require(len(tally.u2), step)\n",
            "",
        ),
        "round",
        "a round goes on that must end without a sum",
    ),
    mutant(
        "server-lists-few-keys",
        Bug.CHECK,
        (
            "server.py",
            "            self._require(len(tally.u1), step)\n",
            "",
        ),
        "round",
        "clients are asked to share among too few",
    ),
    mutant(
        "server-unmasks-with-few-answers",
        Bug.CHECK,
        (
            "server.py",
            "        self._require(len(tally.u5), step)\n",
            "",
        ),
        "round",
        "a sum comes out though more clients vanished than planned",
    ),
    mutant(
        "server-does-not-compare-contexts",
        Bug.CHECK,
        ("server.py", "            tally.check_contexts()\n", ""),
        "round client_server",
        "clients with another model are not named, and their round is lost",
    ),
    mutant(
        "server-keeps-what-it-saw",
        Bug.KEPT,
        (
            "server.py",
            "        self._waiting = set()\n        tally.forget()\n",
            "        self._waiting = set()\n",
        ),
        "client_server",
        "shares and masked vectors live as long as the server object",
    ),
    mutant(
        "aborted-server-keeps-what-it-saw",
        Bug.KEPT,
        (
            "server.py",
            "            self._tally.forget()\n",
            "",
        ),
        "client_server",
        "shares and masked vectors of an aborted round live on",
    ),
    mutant(
        "server-failure-keeps-frames",
        Bug.KEPT,
        (
            "server.py",
            "self._failure = without_frames(error)",
            "self._failure = error",
        ),
        "fail_closed",
        "shares stay alive in the frames of the stored error",
        equivalent="The same error is stripped again where it is caught, or goes on to "
        "the caller, which gives it new frames.",
    ),
    mutant(
        "server-asks-whoever-is-gone",
        Bug.BLAME,
        ("server.py", "            self._gone.add(index)\n", ""),
        "client_server",
        "a client that broke the protocol is asked again",
    ),
    mutant(
        "server-does-not-stop-liars",
        Bug.BLAME,
        (
            "server.py",
            "stop = self._to({index}, Abort(self._round_id).encode())",
            "stop: Outgoing = ()",
        ),
        "client_server",
        "a client that was left out goes on and holds its secrets",
    ),
    mutant(
        "server-takes-two-answers",
        Bug.REUSE,
        (
            "server.py",
            "        self._waiting.discard(index)\n        return self._close_if",
            "        return self._close_if",
        ),
        "client_server",
        "an upload is added twice",
    ),
    mutant(
        "server-asks-dropped-clients-to-unmask",
        Bug.SWAP,
        (
            "server.py",
            "self._waiting = set(tally.u3) - self._gone",
            "self._waiting = set(tally.u2) - self._gone",
        ),
        "client_server",
        "a client whose upload was lost reveals shares too",
    ),
    mutant(
        "server-takes-strangers",
        Bug.CHECK,
        ("server.py", "if peer not in self._index:", "if False:"),
        "client_server",
        "a stranger's message is no typed error of the caller",
    ),
    mutant(
        "server-goes-on-after-an-error",
        Bug.CHECK,
        (
            "server.py",
            "            self._waiting = set()\n            self._tally",
            "            self._state = following\n            self._tally",
        ),
        "round client_server",
        "a round that lacks clients goes on",
    ),
    mutant(
        "server-decodes-of-any-size",
        Bug.CHECK,
        (
            "server.py",
            "self._limits = Limits(plan.clients, where.packed_bytes)",
            "self._limits = Limits(plan.clients, where.packed_bytes + 1)",
        ),
        "client_server fail_closed",
        "an upload longer than the layout is read",
    ),
)
