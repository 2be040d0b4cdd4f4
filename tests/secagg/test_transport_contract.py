"""The suite for a host's own transport: good ones pass, broken promises are named."""

import pytest

from secagg.invite import SERVER
from secagg.testing import End, Memory, check_transport


class Backwards(Memory):
    """Order is not promised: a transport may deliver the last message first."""

    def receive(self, receiver):
        return list(super().receive(receiver))[::-1]


class Cuts(Memory):
    def send(self, sender, receiver, data):
        super().send(sender, receiver, data[:65_536])


class Splits(Memory):
    def send(self, sender, receiver, data):
        super().send(sender, receiver, data[:1000])
        if data[1000:]:
            super().send(sender, receiver, data[1000:])


class Repeats(Memory):
    def send(self, sender, receiver, data):
        super().send(sender, receiver, data)
        super().send(sender, receiver, data)


class Remembers(Memory):
    """Hands out at the second call what it handed out at the first."""

    def __init__(self):
        super().__init__()
        self.old = {}

    def receive(self, receiver):
        fresh = list(super().receive(receiver))
        old, self.old[receiver] = self.old.get(receiver, []), fresh
        return fresh + old


class Loses(Memory):
    def receive(self, receiver):
        return list(super().receive(receiver))[1:]


class Anonymous(Memory):
    """Takes everybody for the first client."""

    def receive(self, receiver):
        arrived = super().receive(receiver)
        return [(s if s == SERVER else "client-0", data) for s, data in arrived]


class Broadcasts(Memory):
    def send(self, sender, receiver, data):
        for name in ("client-0", "client-1", "client-2"):
            super().send(sender, receiver if receiver == SERVER else name, data)


class Falters(Memory):
    """Carries anything but a masked input."""

    def send(self, sender, receiver, data):
        if data[1:2] == b"\x06":
            raise ConnectionError("the network is down.")
        super().send(sender, receiver, data)


@pytest.mark.parametrize("make", [Memory, Backwards])
def test_a_transport_that_keeps_its_promises_passes(make):
    report = check_transport(make, schedules=40)
    assert not report.failures and report.rounds == 4 * 4 + 40
    assert report.ends[End.SUM] >= 16


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (Cuts, "received 65536 bytes from client-0 that client-0 did not send"),
        (Splits, "received (1000|64537) bytes"),
        (Repeats, "received 6 messages"),
        (Remembers, "arrived twice"),
        (Loses, "received 2 messages of 1 bytes, 3 were sent"),
        (Anonymous, "from client-0 that client-0 did not send"),
        (Broadcasts, "did not send to it|messages of"),
        (Falters, "no sum: .* ConnectionError was raised: the network is down"),
    ],
)
def test_each_broken_promise_is_named(make, sentence):
    with pytest.raises(AssertionError, match=sentence):
        check_transport(make, schedules=1)


def test_a_round_that_ends_as_none_must_is_named():
    made = []

    def make():
        made.append(Memory() if len(made) < 2 else Falters())
        return made[-1]

    with pytest.raises(AssertionError, match=r"ended as none must: .* the network is"):
        check_transport(make, schedules=1, sizes=(1,))
