"""Clients and servers broken on purpose: what looks for failures must find them."""

from dataclasses import replace

from secagg.boxes import ShareKind
from secagg.client import Client
from secagg.dealing import ShareDelivery
from secagg.errors import AbortError
from secagg.invite import NO_ROUND
from secagg.messages import Abort, decode
from secagg.reveal import RevealedShare, UnmaskRequest, UnmaskShares
from secagg.server import Server


class SumsTheWrongSet(Server):
    """Says of the sum over u3 that it is over all but one of u3."""

    def result(self):
        out = super().result()
        return replace(out, survivors=out.survivors - {min(out.survivors)})


class AveragesBadly(Server):
    """Divides by a weight that is not the survivors'."""

    def result(self):
        out = super().result()
        return replace(out, mean=out.mean * 2)


class CountsOneTwice(Server):
    """Reports a weight that is off by one."""

    def result(self):
        out = super().result()
        return replace(out, weight=out.weight + 1)


class AnswersTwice(Client):
    """Answers the unmask request, and again with the other share of everybody."""

    def receive(self, data):
        member = self._member
        held = dict(member._held) if member else {}
        answers = super().receive(data)
        if data[1:2] != bytes([UnmaskRequest.TAG]) or not self.finished:
            return answers
        (first,) = answers
        kinds = {s.owner: s.kind for s in decode(first, self._limits).shares}
        other = {k: next(o for o in ShareKind if o is not k) for k in ShareKind}
        second = UnmaskShares(
            self._round_id,
            member._me,
            tuple(
                RevealedShare(v, other[kind], held[v].of(other[kind]).value)
                for v, kind in sorted(kinds.items())
            ),
        )
        return (first, second.encode())


class _Liar(Server):
    def _each(self, messages):
        return super()._each({i: self.changed(i, m) for i, m in messages.items()})

    def changed(self, index, data):
        return self.told(index, decode(data, self._limits)).encode()

    def told(self, index, message):
        return message


class AsksForBoth(_Liar):
    """Tells every other client that client 0 has dropped."""

    def told(self, index, message):
        if isinstance(message, UnmaskRequest) and index % 2:
            return replace(message, survivors=message.survivors - {0})
        return message


class TellsTwoCohorts(_Liar):
    """Tells clients 0, 1 and 2 that they are alone."""

    def told(self, index, message):
        alone = frozenset({0, 1, 2})
        if index not in alone:
            return message
        if isinstance(message, ShareDelivery):
            few = tuple((v, box) for v, box in message.boxes if v in alone)
            return replace(message, boxes=few)
        if isinstance(message, UnmaskRequest):
            return replace(message, survivors=alone)
        return message


class TakesSurvivorsForDropped(_Liar):
    """Tells all clients but client 0 that client 0 has dropped."""

    def told(self, index, message):
        if isinstance(message, UnmaskRequest) and index:
            return replace(message, survivors=message.survivors - {0})
        return message


class TakesDroppedForSurvivors(_Liar):
    """Tells all clients that client 4 has survived."""

    def told(self, index, message):
        if isinstance(message, UnmaskRequest):
            return replace(message, survivors=message.survivors | {4})
        return message


class Trips(Server):
    """Fails on a message that it does not wait for."""

    def receive(self, peer, data):
        if peer not in self.waiting_for:
            raise KeyError(peer)
        return super().receive(peer, data)


class EndsWithoutCounts(Server):
    """Aborts every round, and does not say where or why."""

    def result(self):
        raise AbortError("sorry.")


class Babbles(Server):
    """Has a last word on every message."""

    def receive(self, peer, data):
        return (*super().receive(peer, data), (peer, Abort(NO_ROUND).encode()))


class TalksBack(Client):
    """Answers whatever it hears, even when it is out of the round."""

    def receive(self, data):
        return super().receive(data) or (Abort(NO_ROUND).encode(),)
