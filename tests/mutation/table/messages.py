"""Mutants of the messages: what the round id covers, and what a decoder refuses."""

from __future__ import annotations

from tests.mutation.mutant import Bug, mutant

_ROUND = "usage.digest(usage.TAG_ROUND, self._body())"


def _unbound(part: str) -> tuple[str, str, str]:
    """Leave a part of the invitation out of the round id."""
    body = f"self._body().replace({part}, b'')"
    return "invite.py", _ROUND, f"usage.digest(usage.TAG_ROUND, {body})"


MUTANTS = (
    # invite.py
    mutant(
        "round-id-without-session",
        Bug.BINDING,
        _unbound("self.session"),
        "messages",
        "two rounds have one id, so messages of one are answers in the other",
    ),
    mutant(
        "round-id-without-plan",
        Bug.BINDING,
        _unbound("self.plan.encode()"),
        "messages",
        "clients with different plans take part in one round",
    ),
    mutant(
        "round-id-without-roster",
        Bug.BINDING,
        _unbound("self.roster[-1].encode()"),
        "messages",
        "clients with different rosters take part in one round",
    ),
    mutant(
        "round-id-without-length",
        Bug.BINDING,
        _unbound('self.length.to_bytes(4, "little")'),
        "messages",
        "clients mask vectors of different lengths with one key",
    ),
    mutant(
        "invitation-of-another-round",
        Bug.CHECK,
        ("invite.py", "if invite.round_id != round_id:", "if False:"),
        "messages",
        "an invitation has an id that its content does not give",
    ),
    mutant(
        "invitation-to-what-cannot-run",
        Bug.CHECK,
        (
            "invite.py",
            "        self.plan.require_runnable()\n        session",
            "        session",
        ),
        "params messages",
        "a round under a plan against a server that lies, without its protocol",
    ),
    mutant(
        "session-may-be-empty",
        Bug.CHECK,
        (
            "invite.py",
            "not 1 <= len(session) <= MAX_SESSION_BYTES",
            "not len(session) <= MAX_SESSION_BYTES",
        ),
        "messages",
        "rounds without a name are all the same round",
    ),
    mutant(
        "session-of-any-length",
        Bug.CHECK,
        (
            "invite.py",
            "not 1 <= len(session) <= MAX_SESSION_BYTES",
            "not 1 <= len(session)",
        ),
        "messages",
        "a session that does not fit its message",
    ),
    mutant(
        "length-may-be-zero",
        Bug.OFF_BY_ONE,
        (
            "invite.py",
            "if type(self.length) is not int or not 1 <= self.length <= MAX_LENGTH:",
            "if type(self.length) is not int or not 0 <= self.length <= MAX_LENGTH:",
        ),
        "messages",
        "a round over nothing",
    ),
    mutant(
        "roster-of-any-size",
        Bug.CHECK,
        ("invite.py", "if len(self.roster) != self.plan.clients:", "if False:"),
        "messages client_server",
        "a cohort smaller than the plan, whose sums hold fewer inputs",
    ),
    mutant(
        "client-named-server",
        Bug.CHECK,
        (
            "invite.py",
            "    if SERVER in distinct:\n",
            "    if False:\n",
        ),
        "messages",
        "a client's messages pass for the server's",
    ),
    mutant(
        "names-of-any-length",
        Bug.CHECK,
        (
            "invite.py",
            "if not sizes or not 1 <= min(sizes) <= max(sizes) <= MAX_NAME_BYTES:",
            "if not sizes or not 1 <= min(sizes) <= max(sizes) <= 255:",
        ),
        "messages",
        "a name that does not fit its message",
    ),
    mutant(
        "names-twice-in-a-roster",
        Bug.CHECK,
        ("invite.py", "    if len(distinct) != len(roster):\n", "    if False:\n"),
        "messages",
        "one client counts as two",
    ),
    mutant(
        "session-not-bytes",
        Bug.CHECK,
        ("invite.py", "if not isinstance(session, bytes) or not 1", "if not 1"),
        "fail_closed",
        "a session that can change under the round",
    ),
    # wire.py
    mutant(
        "version-unchecked",
        Bug.CHECK,
        ("wire.py", "if data[0] != usage.VERSION:", "if False:"),
        "messages",
        "a message of another version is read as one of this",
    ),
    mutant(
        "short-header-accepted",
        Bug.CHECK,
        ("wire.py", "if len(data) < HEADER_BYTES:", "if len(data) < 2:"),
        "messages",
        "a round id of fewer bytes",
    ),
    mutant(
        "lists-may-repeat",
        Bug.OFF_BY_ONE,
        (
            "wire.py",
            "if any(a >= b for a, b in pairwise(indices)):",
            "if any(a > b for a, b in pairwise(indices)):",
        ),
        "messages",
        "one client is listed twice, and both its shares are asked for",
    ),
    mutant(
        "lists-in-any-order",
        Bug.CHECK,
        (
            "wire.py",
            "if any(a >= b for a, b in pairwise(indices)):",
            "if any(a == b for a, b in pairwise(indices)):",
        ),
        "messages",
        "one list has many encodings, and one client comes twice",
    ),
    mutant(
        "fields-of-any-size",
        Bug.CHECK,
        ("wire.py", "if len(value) != size:", "if False:"),
        "messages boxes",
        "a field of the wrong size shifts all that follow",
    ),
    mutant(
        "reading-past-the-end",
        Bug.CHECK,
        ("wire.py", "if end > len(self._data):", "if False:"),
        "messages",
        "a truncated message is read as a whole one",
    ),
    mutant(
        "flags-of-any-value",
        Bug.CHECK,
        ("wire.py", "if value > 1:", "if value > 255:"),
        "messages",
        "one message has many encodings",
        equivalent="A flag above 1 reads as true and is written as 1, so decode() "
        "refuses the message as not canonical.",
    ),
    mutant(
        "counts-beyond-the-cohort",
        Bug.CHECK,
        (
            "wire.py",
            "if count > most or count * entry_bytes > len(self._data) - self._at:",
            "if count * entry_bytes > len(self._data) - self._at:",
        ),
        "messages",
        "a list longer than the cohort",
    ),
    mutant(
        "counts-beyond-the-message",
        Bug.CHECK,
        (
            "wire.py",
            "if count > most or count * entry_bytes > len(self._data) - self._at:",
            "if count > most:",
        ),
        "messages",
        "a count makes the receiver allocate for entries that are not there",
    ),
    mutant(
        "trailing-bytes-accepted",
        Bug.CHECK,
        ("wire.py", "if self._at != len(self._data):", "if False:"),
        "messages",
        "a message carries bytes that nobody reads",
    ),
    mutant(
        "names-not-utf8",
        Bug.CHECK,
        (
            "wire.py",
            "return self.take(size).decode()",
            'return self.take(size).decode(errors="replace")',
        ),
        "messages",
        "two names are one",
        equivalent="What is put in place of bad bytes is written as other bytes, so "
        "decode() refuses the message as not canonical.",
    ),
    # messages.py
    mutant(
        "cap-unchecked",
        Bug.CHECK,
        ("messages.py", "if len(data) > cap:", "if False:"),
        "messages",
        "a message of any size is read",
    ),
    mutant(
        "end-unchecked-and-not-canonical",
        Bug.CHECK,
        (
            ("messages.py", "    reader.end()\n", ""),
            ("messages.py", "    if not canonical:\n", "    if False:\n"),
        ),
        "messages",
        "one message has many encodings",
    ),
    mutant(
        "upload-head-not-canonical",
        Bug.CHECK,
        (
            "messages.py",
            "canonical = data.startswith(message.head())",
            "canonical = True",
        ),
        "messages",
        "an upload has many encodings",
        equivalent="Its head is of fixed-size fields that are written as they were "
        "read, and its size is checked; the comparison guards against later changes.",
    ),
    mutant(
        "not-canonical-accepted",
        Bug.CHECK,
        ("messages.py", "    if not canonical:\n", "    if False:\n"),
        "messages",
        "one message has many encodings",
    ),
    mutant(
        "unknown-tags-are-no-typed-error",
        Bug.BLAME,
        (
            "messages.py",
            'if kind is None:\n        raise DecodeError(f"message has unknown tag '
            '{tag}.")\n    cap',
            "if kind is None:\n        raise KeyError(tag)\n    cap",
        ),
        "messages",
        "a peer's junk raises at the caller",
    ),
    # upload.py
    mutant(
        "context-of-any-size",
        Bug.CHECK,
        (
            "upload.py",
            'check_size("context", self.context, usage.DIGEST_BYTES)',
            "pass",
        ),
        "messages",
        "context and vector share bytes",
    ),
    mutant(
        "plain-weight-zero",
        Bug.CHECK,
        (
            "upload.py",
            "if tag != cls.TAG or len(packed) % 4 or not weight:",
            "if tag != cls.TAG or len(packed) % 4:",
        ),
        "messages",
        "a mean over a total weight of zero",
    ),
    mutant(
        "plain-values-not-finite",
        Bug.CHECK,
        ("upload.py", "if not np.isfinite(plain.values()).all():", "if False:"),
        "messages",
        "one NaN makes the mean NaN",
    ),
    # transcript.py
    mutant(
        "transcript-prints",
        Bug.KEPT,
        (
            "transcript.py",
            "    receiver: str\n    data: bytes = field(repr=False)",
            "    receiver: str\n    data: bytes",
        ),
        "client_server::test_what_crossed_the_wire_does_not_print",
        "whole messages in a log",
    ),
    mutant(
        "transcript-counts-one-way",
        Bug.SWAP,
        (
            "transcript.py",
            "received[wire.receiver] += len(wire.data)",
            "received[wire.sender] += len(wire.data)",
        ),
        "round",
        "the stated traffic of a client is not its own",
    ),
)
