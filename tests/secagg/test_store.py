"""What a party sent it remembers, over kills, restarts and races; never twice."""

import copy
import os
import pickle
import signal
import sqlite3
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

import numpy as np
import pytest

import secagg
from secagg import encode as encoding
from secagg.client import Client
from secagg.errors import AbortError, LocalProtocolError, ParameterError, StoreError
from secagg.invite import SERVER, Step
from secagg.messages import step_of
from secagg.monitor import Release
from secagg.states import State
from secagg.store import Store
from tests.secagg.harness import CONTEXT, GRAPHS, Network, make_updates, open_policy

ROOT = Path(__file__).parents[2]
PLAN = GRAPHS["complete"]
NAMES = [f"c{i}" for i in range(4)]
UPDATES = make_updates(4, 3)
STEPS = list(Step)
SMALL_GAP = secagg.plan(8, 1, 3, graph="complete")
RELEASE = Release(CONTEXT, frozenset("abcdefgh"))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "store.db"


@pytest.fixture(params=["complete", "k-regular"])
def plan(request):
    return GRAPHS[request.param]


class Diary:
    """A journal that keeps the order of what it is told and what leaves."""

    remembers = True

    def __init__(self):
        self.entries = []

    def record(self, owner, session, step):
        self.entries.append(("recorded", owner, session, str(step)))

    def upload(self, owner, session, context, fingerprint):
        assert len(context) == len(fingerprint) == 32
        self.record(owner, session, Step.MASKED_INPUT)

    def release(self, owner, session, release, minimum):
        self.entries.append(("recorded", owner, session, "unmask"))
        self.entries.append(("released", owner, release, minimum))


class Failing(Diary):
    """A journal that fails at one step."""

    def __init__(self, step, error):
        super().__init__()
        self.step, self.error = step, error

    def record(self, owner, session, step):
        if step == self.step:
            raise self.error
        super().record(owner, session, step)

    def release(self, owner, session, release, minimum):
        self.record(owner, session, Step.UNMASK)


def network_of(plan, *, server_journal=None, journals=None, session=b"s", late=()):
    """Return a network in which parties have journals, and what they offer."""
    updates = make_updates(plan.clients, 3)
    clients = {
        name: Client(plan, open_policy(plan), me=name, store=journal)
        for name, journal in (journals or {}).items()
    }
    network = Network(
        plan, updates, clients=clients, session=session, store=server_journal
    )
    for name in late:  # one that has not offered yet
        journal = (journals or {}).get(name)
        again = Client(plan, open_policy(plan), me=name, store=journal)
        network.clients[name] = again
    return network, updates


# --- before the bytes leave -----------------------------------------------------------


def test_each_step_is_recorded_before_its_bytes_leave(plan):
    diary = Diary()
    journals = dict.fromkeys((f"c{i}" for i in range(plan.clients)), diary)
    network, _ = network_of(plan, server_journal=diary, journals=journals)

    def note(wire):
        diary.entries.append(("sent", wire.sender, wire.step))
        return wire.data

    network.run(note).result()
    for party in (SERVER, "c0"):
        mine = [
            (entry[0], entry[-1])
            for entry in diary.entries
            if entry[1] == party and entry[0] != "released"
        ]
        seen = list(dict.fromkeys(mine))
        assert seen == [
            pair for step in STEPS for pair in (("recorded", step), ("sent", step))
        ]
        assert mine.count(("recorded", Step.UNMASK)) == 1


def test_a_vector_offered_late_is_recorded_before_it_is_uploaded():
    diary = Diary()
    network, updates = network_of(PLAN, journals={"c0": diary}, late=["c0"])
    network.queue.extend(network.server.start())
    while network.queue:
        name, data = network.queue.popleft()
        for reply in network.clients[name].receive(data):
            network.queue.extend(network.server.receive(name, reply))
    assert diary.entries[-1][-1] == Step.SHARE_KEYS
    (upload,) = network.clients["c0"].offer(updates["c0"], context=CONTEXT)
    assert step_of(upload) is Step.MASKED_INPUT
    assert diary.entries[-1] == ("recorded", "c0", b"s", Step.MASKED_INPUT)


def test_on_a_sparse_graph_a_client_records_all_of_u3():
    diary = Diary()
    plan = GRAPHS["k-regular"]
    network, _ = network_of(plan, journals={"c0": diary})
    assert len(network.neighbours("c0")) + 1 < plan.clients
    network.run()
    (cohort,) = [e[2].cohort for e in diary.entries if e[0] == "released"]
    assert cohort == frozenset(network.clients)


def test_parties_ask_for_the_difference_that_leaves_honest_inputs():
    plan = secagg.plan(8, 2, 1)
    diary = Diary()
    network, _ = network_of(plan, server_journal=diary, journals={"c0": diary})
    network.run(
        lambda w: None if (w.sender, w.step) == ("c3", "masked_input") else w.data
    )
    released = [entry[1:] for entry in diary.entries if entry[0] == "released"]
    expected = Release(CONTEXT, frozenset(network.clients) - {"c3"})
    # open_policy asks for the plan's own honest_min, 5, a server for 2.
    assert released == [(SERVER, expected, 2 + 2), ("c0", expected, 2 + 5)]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize(
    "error", [StoreError("disk full", path="x"), AbortError("was here before")]
)
def test_a_client_that_cannot_record_sends_nothing_of_that_step(step, error):
    network, _ = network_of(PLAN, journals={"c0": Failing(step, error)})
    client, left = network.clients["c0"], []

    def note(wire):
        if wire.sender == "c0":
            left.append(step_of(wire.data))
        return wire.data

    if isinstance(error, StoreError):
        with pytest.raises(StoreError, match="disk full"):
            network.run(note)
        assert left == STEPS[: STEPS.index(step)]
    else:
        network.run(note)
        assert left == [*STEPS[: STEPS.index(step)], None]  # an abort
    assert client.aborted and isinstance(client.fault, AbortError)
    assert client._member is None
    assert client.fault.__traceback__ is None


@pytest.mark.parametrize("error", [StoreError("disk full"), AbortError("forbidden")])
def test_a_late_offer_that_cannot_be_recorded_is_not_sent(error):
    failing = Failing(Step.MASKED_INPUT, error)
    network, updates = network_of(PLAN, journals={"c0": failing}, late=["c0"])
    network.queue.extend(network.server.start())
    while network.queue:
        name, data = network.queue.popleft()
        for reply in network.clients[name].receive(data):
            network.queue.extend(network.server.receive(name, reply))
    client = network.clients["c0"]
    with pytest.raises(type(error)):
        client.offer(updates["c0"], context=CONTEXT)
    assert client.aborted and client._member is None and client._offer is None
    assert isinstance(client.fault, AbortError) and client.fault.__traceback__ is None


@pytest.mark.parametrize("step", STEPS)
def test_a_server_that_cannot_record_sends_nothing_of_that_step(step):
    failing = Failing(step, StoreError("disk full"))
    network, _ = network_of(PLAN, server_journal=failing)
    with pytest.raises(StoreError, match="disk full"):
        network.run()
    sent = {wire.step for wire in network.wires if wire.sender == SERVER}
    assert sent == set(STEPS[: STEPS.index(step)])
    assert network.server.state is State.ABORTED and network.server.finished
    with pytest.raises(AbortError, match="the store failed"):
        network.server.result()


# --- steps ----------------------------------------------------------------------------


def test_steps_only_go_forward_over_restarts(path):
    for after in range(len(STEPS)):
        session = bytes([after])
        with Store(path) as store:
            for step in STEPS[: after + 1]:
                store.record("a", session, step)
        for again in STEPS[: after + 1]:
            with Store(path) as store:
                with pytest.raises(AbortError, match="start a new session"):
                    store.record("a", session, again)
    with Store(path) as store:
        store.record("b", b"\0", STEPS[0])  # another party
        store.record("a", b"new", STEPS[0])  # another session


def test_a_step_of_a_session_that_the_store_lost_is_refused(path):
    with Store(path) as store, pytest.raises(StoreError, match="replaced"):
        store.record("a", b"s", Step.SHARE_KEYS)


def test_a_refused_release_leaves_no_trace_and_an_accepted_one_is_found_again(path):
    with Store(path) as store:
        for session in (b"1", b"2", b"3"):
            store.record("a", session, STEPS[0])
        store.release("a", b"1", RELEASE, 3)
    close = Release(CONTEXT, RELEASE.cohort - {"a"})
    with Store(path) as store:
        with pytest.raises(AbortError, match="differ by 1 client"):
            store.release("a", b"2", close, 3)
        store.release("a", b"2", RELEASE, 3)
        assert [r.release for r in store.releases()] == [RELEASE] * 2
        with pytest.raises(AbortError, match="start a new session"):
            store.release("a", b"1", RELEASE, 3)
        store.record("b", b"3", STEPS[0])
        store.release("b", b"3", close, 3)  # b took part in none of the others


def test_two_processes_that_race_for_sessions_never_both_enter_one(path):
    racer = (
        "import sys\nfrom secagg.errors import AbortError\n"
        "from secagg.invite import Step\nfrom secagg.store import Store\n"
        "with Store(sys.argv[1]) as store:\n"
        "    print('ready', flush=True)\n"
        "    sys.stdin.readline()\n"
        "    for i in range(15):\n"
        "        try:\n"
        "            store.record('a', b'%d' % i, Step.ADVERTISE_KEYS)\n"
        "            print(i)\n"
        "        except AbortError:\n"
        "            pass\n"
    )
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", racer, str(path)],
            env={"PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for racer_process in racers:
        assert racer_process.stdout.readline() == "ready\n"
    for racer_process in racers:
        racer_process.stdin.write("go\n")
        racer_process.stdin.flush()
    outputs = [process.communicate(timeout=60)[0] for process in racers]
    assert [process.returncode for process in racers] == [0, 0]
    entered = [int(i) for output in outputs for i in output.split()]
    assert sorted(entered) == list(range(15))


# --- kills ----------------------------------------------------------------------------

ROLES = ["c0", SERVER]


def play_with(store, log, role):
    """Play a round in which one party has a store; log what leaves that party."""
    more = {"server_journal": store} if role == SERVER else {"journals": {role: store}}
    network, _ = network_of(PLAN, session=b"round-7", **more)

    def write(wire):
        if wire.sender == role and wire.step:
            with open(log, "a") as file:
                print(wire.step, file=file)
        return wire.data

    network.run(write)
    return network


class Killed(Store):
    """A store whose process is killed with SIGKILL just after, or before, a commit."""

    def __init__(self, path, step, *, committed):
        super().__init__(path)
        self.step, self.committed = step, committed
        self._open.set_trace_callback(self.trace)

    def trace(self, statement):
        if not self.committed and self.doomed and statement == "COMMIT":
            os.kill(os.getpid(), signal.SIGKILL)

    doomed = False

    def record(self, owner, session, step):
        self.doomed = step == self.step
        super().record(owner, session, step)
        if self.doomed:
            os.kill(os.getpid(), signal.SIGKILL)

    def upload(self, *more):
        self.doomed = self.step == Step.MASKED_INPUT
        super().upload(*more)
        if self.doomed:
            os.kill(os.getpid(), signal.SIGKILL)

    def release(self, *more):
        self.doomed = self.step == Step.UNMASK
        super().release(*more)
        if self.doomed:
            os.kill(os.getpid(), signal.SIGKILL)


def place(folder, role, step, committed):
    found = folder / f"{role} {step} {committed}"
    found.mkdir(exist_ok=True)
    return found / "store.db", found / "log"


def die_everywhere(folder):
    """Fork a process per role, step and side of the commit; each kills itself."""
    for role, step, committed in [
        *product(ROLES, STEPS, [True]),
        *product(["c0"], STEPS, [False]),
    ]:
        path, log = place(folder, role, step, committed)
        log.touch()
        child = os.fork()
        if not child:
            play_with(Killed(path, step, committed=committed), log, role)
            os._exit(0)  # it should be dead
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL


@pytest.fixture(scope="module")
def graves(tmp_path_factory):
    folder = tmp_path_factory.mktemp("graves")
    subprocess.run(
        [
            sys.executable,
            "-c",
            "import pathlib, sys\nfrom tests.secagg.test_store import die_everywhere\n"
            "die_everywhere(pathlib.Path(sys.argv[1]))",
            str(folder),
        ],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
        timeout=120,
        check=True,
    )
    return folder


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("step", STEPS)
def test_killed_between_write_and_send_it_never_sends_again(graves, step, role):
    path, log = place(graves, role, step, True)
    before = log.read_text()
    left = list(dict.fromkeys(before.split()))
    assert left == STEPS[: STEPS.index(step)]  # nothing of the step at which it died
    with Store(path) as store:
        if role == SERVER:
            with pytest.raises(AbortError, match="start a new session"):
                play_with(store, log, role)
        else:
            network = play_with(store, log, role)
            assert "start a new session" in str(network.clients[role].fault)
            assert role not in network.server.result().survivors
        assert log.read_text() == before
        assert len(store.releases()) == (step == Step.UNMASK)
        again, _ = network_of(PLAN, session=b"round-8", journals={"c0": store})
        assert len(again.run().result().survivors) == 4


@pytest.mark.parametrize("step", STEPS)
def test_killed_before_the_write_it_has_sent_nothing_of_that_step(graves, step):
    path, log = place(graves, "c0", step, False)
    before = log.read_text()
    assert list(dict.fromkeys(before.split())) == STEPS[: STEPS.index(step)]
    with Store(path) as store:
        assert not store.releases()
        if step != STEPS[0]:
            with pytest.raises(AbortError, match="start a new session"):
                store.record("c0", b"round-7", STEPS[0])
        else:
            store.record("c0", b"round-7", STEPS[0])


# --- rounds under one context ---------------------------------------------------------


def run(store, session, plan=SMALL_GAP, **more):
    updates = make_updates(plan.clients, 3)
    return secagg.run_round(
        plan, updates, store=store, session=session, context=CONTEXT, **more
    )


def test_the_same_clients_may_be_summed_again_but_not_all_but_one():
    with Store() as store:
        first = run(store, b"1")
        assert run(store, b"2").survivors == first.survivors
        with pytest.raises(
            AbortError, match="differ by 1 client, at least 3"
        ) as caught:
            run(store, b"3", vanish={"c1": "masked_input"})
        assert (caught.value.need, caught.value.have) == (3, 1)
        assert caught.value.step == Step.UNMASK
        run(store, b"4", vanish=dict.fromkeys(["c1", "c2", "c3"], "masked_input"))
        with pytest.raises(AbortError, match="start a new session"):
            run(store, b"4")
        assert {r.session for r in store.releases()} == {b"1", b"2", b"4"}


def test_without_a_store_nothing_is_remembered():
    run(None, b"1")
    assert len(run(None, b"1", vanish={"c1": "masked_input"}).survivors) == 7


@pytest.mark.parametrize("graph", GRAPHS)
def test_a_server_sends_no_unmask_request_for_a_sum_that_must_not_be(graph):
    plan = {"complete": secagg.plan(8, 1, 3, graph="complete")}.get(
        graph, GRAPHS[graph]
    )
    with Store() as store:
        network_of(plan, server_journal=store, session=b"1")[0].run().result()
        network, _ = network_of(plan, server_journal=store, session=b"2")
        lost = ("c3", Step.MASKED_INPUT)
        server = network.run(
            lambda wire: None if (wire.sender, wire.step) == lost else wire.data
        )
        with pytest.raises(AbortError, match="differ by 1 client"):
            server.result()
        assert not [w for w in network.wires if w.step == Step.UNMASK]
        assert all(client.aborted for client in network.clients.values())


def test_clients_refuse_what_a_forgetful_server_asks():
    with Store() as store:
        for session, lost in ((b"1", None), (b"2", "c3")):
            journals = {f"c{i}": store for i in range(SMALL_GAP.clients)}
            network, _ = network_of(SMALL_GAP, journals=journals, session=session)
            server = network.run(
                lambda wire, lost=lost: (
                    None
                    if (wire.sender, wire.step) == (lost, Step.MASKED_INPUT)
                    else wire.data
                )
            )
            if lost is None:
                server.result()
        with pytest.raises(AbortError, match="only 0 clients answered"):
            server.result()
        answers = [w for w in network.wires if w.step == Step.UNMASK]
        assert answers and {w.sender for w in answers} == {SERVER}
        assert "differ by 1 client" in str(network.clients["c0"].fault)
        assert network.clients["c0"].fault.step == Step.UNMASK


def offer_again(store, session, weight=3, vector=(1.0, 2.0, 3.0), dtype=np.float64):
    """Play a round in which only c0's offer may differ; return what c0 says of it."""
    client = Client(PLAN, open_policy(PLAN), me="c0", store=store)
    updates = {**UPDATES, "c0": np.array(vector, dtype)}
    Network(
        PLAN, updates, weights={"c0": weight}, clients={"c0": client}, session=session
    ).run()
    return client.fault


def test_the_same_offer_leaves_again_under_one_context(path):
    with Store(path) as store:
        assert offer_again(store, b"1") is None
    with Store(path) as store:  # over a restart
        assert offer_again(store, b"2") is None


@pytest.mark.parametrize(
    "change",
    [{"weight": 4}, {"vector": (1.0, 2.0, 3.5)}, {"dtype": np.float32}],
    ids=["weight", "vector", "type"],
)
def test_another_offer_under_one_context_never_leaves(path, change):
    with Store(path) as store:
        assert offer_again(store, b"1") is None
    with Store(path) as store:
        fault = offer_again(store, b"2", **change)
        assert isinstance(fault, AbortError) and fault.step == Step.MASKED_INPUT
        assert "another vector or weight" in str(fault)
        assert "3" not in str(fault) and "4" not in str(fault)  # says no weight
        assert len(store.releases()) == 1


def test_a_late_offer_of_another_vector_is_refused_to_the_caller(path):
    with Store(path) as store:
        offer_again(store, b"1")
        network, _ = network_of(PLAN, session=b"2", journals={"c0": store}, late=["c0"])
        network.run()
        client = network.clients["c0"]
        with pytest.raises(AbortError, match="another vector or weight"):
            client.offer(np.zeros(3), weight=3, context=CONTEXT)
        assert client.aborted


def test_a_vector_that_changes_while_it_is_offered_passes_for_no_other(
    path, monkeypatch
):
    vector, encode = np.array([1.0, 2.0, 3.0]), encoding.encode

    def train_on(*given, **more):
        words = encode(*given, **more)
        vector[0] = 1.5  # too late for what was encoded
        return words

    with Store(path) as store:
        for session in (b"1", b"2"):
            network, _ = network_of(
                PLAN, session=session, journals={"c0": store}, late=["c0"]
            )
            network.run()
            client = network.clients["c0"]
            if session == b"1":
                with monkeypatch.context() as patch:
                    patch.setattr(encoding, "encode", train_on)
                    assert client.offer(vector, weight=3, context=CONTEXT)
            else:
                with pytest.raises(AbortError, match="another vector"):
                    client.offer(vector, weight=3, context=CONTEXT)


def test_an_empty_fingerprint_is_refused(path):
    with Store(path) as store:
        store.record("c0", b"1", STEPS[0])
        with pytest.raises(ParameterError, match="0 bytes"):
            store.upload("c0", b"1", CONTEXT, b"")
        store.upload("c0", b"1", CONTEXT, bytes(32))  # nothing was recorded


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM key",
        "UPDATE key SET secret = 'text'",
        "UPDATE key SET secret = x''",
        "INSERT INTO uploads VALUES ('c0', {context}, 'text')",
    ],
)
def test_a_damaged_key_or_mark_is_a_typed_error(path, damage):
    with Store(path) as store:
        store.record("c0", b"1", STEPS[0])
        store._open.execute(damage.format(context=f"x'{CONTEXT.hex()}'"))
        with pytest.raises(StoreError, match="is damaged"):
            store.upload("c0", b"1", CONTEXT, bytes(32))


def test_another_client_and_another_context_are_free_to_differ(path):
    with Store(path) as store:
        sessions = (b"1", b"2", b"3")
        others = (("c0", CONTEXT), ("c1", CONTEXT), ("c0", secagg.context(b"next")))
        for (owner, under), session, mark in zip(others, sessions, b"abc", strict=True):
            store.record(owner, session, STEPS[0])
            store.upload(owner, session, under, bytes([mark]) * 32)
        assert store._open.execute("SELECT count(*) FROM uploads").fetchone() == (3,)


def test_a_mark_tells_nothing_without_the_file_it_is_in(tmp_path):
    marks = []
    for name in ("one", "two"):
        with Store(tmp_path / name) as store:
            store.record("c0", b"s", STEPS[0])
            store.upload("c0", b"s", CONTEXT, bytes(32))
            marks += store._open.execute("SELECT mark FROM uploads").fetchone()
    assert marks[0] != marks[1] and bytes(32) not in marks


# --- the file -------------------------------------------------------------------------


def test_the_file_is_its_owners_and_holds_no_secret(path):
    rng = np.random.default_rng(8)
    updates = {f"c{i}": rng.normal(size=16) for i in range(4)}
    drawn = []

    class Recording(Client):
        def __init__(self, *given, rng, **named):
            def draw(count):
                drawn.append(os.urandom(count))
                return drawn[-1]

            super().__init__(*given, rng=draw, **named)

    umask = os.umask(0)
    try:
        store = Store(path)
    finally:
        os.umask(umask)
    with store, pytest.MonkeyPatch.context() as patch:
        patch.setattr("secagg.round.Client", Recording)
        secagg.run_round(PLAN, updates, store=store, session=b"s")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    written = path.read_bytes()
    assert b'"c3"' in written and drawn
    for secret in [*drawn, *(v.tobytes()[:16] for v in updates.values())]:
        assert secret[:16] not in written


def test_a_commit_is_synchronised_with_the_disk(path):
    with Store(path) as store:
        (synchronous,) = store._open.execute("PRAGMA synchronous").fetchone()
        (journal,) = store._open.execute("PRAGMA journal_mode").fetchone()
    assert (synchronous, journal) == (3, "delete")  # 3: EXTRA


def make_foreign(path):
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE steps (a, b, c)")
    database.close()


def make_later(path):
    Store(path).close()
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 3")
    database.close()


def filled(path):
    """Return the bytes of a store of several pages."""
    with Store(path) as store, store._transaction() as database:
        rows = [(f"{i:99}", b"", "unmask") for i in range(200)]
        database.executemany("INSERT INTO steps VALUES (?, ?, ?)", rows)
    return path.read_bytes()


def make_cut(path):
    path.write_bytes(filled(path)[:-4096])


def make_garbled(path):
    path.write_bytes(filled(path)[:-4096] + bytes(range(256)) * 16)


@pytest.mark.parametrize(
    "make",
    [
        lambda path: path.write_bytes(b"not a database at all" * 99),
        lambda path: path.mkdir(),
        make_foreign,
        make_later,
        make_cut,
        make_garbled,
    ],
    ids=["text", "folder", "foreign", "later", "cut", "garbled"],
)
def test_what_is_no_whole_store_is_refused_by_name_with_a_cure(path, make):
    make(path)
    with pytest.raises(StoreError, match=r"new file|a file in") as caught:
        Store(path)
    assert caught.value.path == str(path) and str(path) in str(caught.value)


def test_a_store_that_must_exist_is_not_made(path):
    with pytest.raises(StoreError, match="No such file"):
        Store(path, must_exist=True)
    path.touch()
    with pytest.raises(StoreError, match="not written by"):
        Store(path, must_exist=True)
    assert path.stat().st_size == 0
    with pytest.raises(StoreError, match="folder that exists"):
        Store(path.parent / "none" / "store.db")


def test_a_damaged_release_is_a_typed_error(path):
    with Store(path) as store:
        store.record("a", b"s", STEPS[0])
        store.release("a", b"s", RELEASE, 3)
        store._open.execute("UPDATE cohorts SET names = '[1'")
        with pytest.raises(StoreError, match="damaged"):
            store.releases()


@pytest.mark.parametrize("name", [":memory:", "file:x?mode=memory"])
def test_no_name_of_a_file_means_memory(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    for refused in (False, True):
        with Store(name) as store:
            if refused:
                with pytest.raises(AbortError):
                    store.record("a", b"s", STEPS[0])
            else:
                store.record("a", b"s", STEPS[0])


def test_a_store_is_neither_copied_nor_used_after_closing(path):
    store = Store(path)
    for duplicate in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(LocalProtocolError, match="pickled or copied"):
            duplicate(store)
    store.close()
    store.close()
    with pytest.raises(StoreError, match="was closed"):
        store.record("a", b"s", STEPS[0])


def test_a_store_is_used_by_one_thread_and_one_process(path):
    with Store(path) as store:
        with ThreadPoolExecutor(1) as pool:
            with pytest.raises(StoreError, match="thread"):
                pool.submit(store.record, "a", b"s", STEPS[0]).result()
        store._pid += 1
        with pytest.raises(StoreError, match="another process"):
            store.record("a", b"s", STEPS[0])
        store._pid -= 1
        store.record("a", b"s", STEPS[0])
