from itertools import product

import pytest

from secagg.errors import LocalProtocolError, RemoteProtocolError
from secagg.states import (
    FINAL_STATES,
    LOCAL_EVENTS,
    TRANSITIONS,
    Event,
    Role,
    State,
    advance,
)

ALL = list(product(Role, State, Event))


@pytest.mark.parametrize(("role", "state", "event"), ALL)
def test_exactly_the_pairs_of_the_table_are_legal(role, state, event):
    if (role, state, event) in TRANSITIONS:
        assert advance(role, state, event) is TRANSITIONS[role, state, event]
        return
    error = LocalProtocolError if event in LOCAL_EVENTS else RemoteProtocolError
    with pytest.raises(error, match="expected"):
        advance(role, state, event)


def test_final_states_have_no_way_out():
    assert not [key for key in TRANSITIONS if key[1] in FINAL_STATES]


@pytest.mark.parametrize(
    ("role", "start"), [(Role.CLIENT, State.NEW), (Role.SERVER, State.CREATED)]
)
def test_every_state_of_a_role_is_reached_and_leads_to_the_end(role, start):
    edges = [(s, t) for (r, s, _), t in TRANSITIONS.items() if r is role]
    reached = {start}
    for _ in edges:
        reached |= {t for s, t in edges if s in reached}
    ends = {State.FINISHED}
    for _ in edges:
        ends |= {s for s, t in edges if t in ends}
    assert reached == ends == {state for edge in edges for state in edge}


# Written out a second time on purpose: one row more is one thing more that a lying peer
# may do, so a change of the protocol has to be made here too.
CLIENT_ROWS = """
    NEW                 INVITE          ADVERTISED
    NEW_OFFERED         INVITE          ADVERTISED_OFFERED
    ADVERTISED          KEY_LIST        SHARED
    ADVERTISED_OFFERED  KEY_LIST        SHARED_OFFERED
    SHARED              SHARE_DELIVERY  READY
    SHARED_OFFERED      SHARE_DELIVERY  UPLOADED
    UPLOADED            UNMASK_REQUEST  FINISHED
    NEW                 OFFER           NEW_OFFERED
    ADVERTISED          OFFER           ADVERTISED_OFFERED
    SHARED              OFFER           SHARED_OFFERED
    READY               OFFER           UPLOADED
    READY               PREPARE         PREPARED
    PREPARED            OFFER           UPLOADED
"""
SERVER_ROWS = """
    CREATED      START          ADVERTISING
    ADVERTISING  ADVERTISE      ADVERTISING
    ADVERTISING  CLOSE          SHARING
    SHARING      SEALED_SHARES  SHARING
    SHARING      CLOSE          MASKING
    MASKING      MASKED_INPUT   MASKING
    MASKING      CLOSE          UNMASKING
    UNMASKING    UNMASK_SHARES  UNMASKING
    UNMASKING    CLOSE          FINISHED
"""


@pytest.mark.parametrize(
    ("role", "rows"), [(Role.CLIENT, CLIENT_ROWS), (Role.SERVER, SERVER_ROWS)]
)
def test_nothing_is_legal_but_the_steps_of_the_protocol(role, rows):
    expected = {
        (State[before], Event[event]): State[after]
        for before, event, after in map(str.split, rows.strip().splitlines())
    }
    table = {(s, e): after for (r, s, e), after in TRANSITIONS.items() if r is role}
    assert table == expected
