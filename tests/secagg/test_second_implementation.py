"""docs/protocol.md is enough to write the protocol again, byte for byte.

``page_oracle`` was written from that page alone.  It gives the published vectors,
plays rounds with this package on either side of the wire, and stops doing so as soon
as one constant in it is another.
"""

import ast
import hashlib
import importlib.util
import io
import json
import random
import sys
from pathlib import Path

import numpy as np
import pytest

import secagg
from secagg.errors import AuthenticationError
from secagg.graph import graph_of
from secagg.streams import stream_words
from tests.secagg import page_oracle
from tests.secagg.harness import open_policy
from tests.secagg.test_round_vectors import CONTEXT, FILE, SPARSE_FILE, inputs_of

STEPS = ["advertise_keys", "share_keys", "masked_input", "unmask"]
COMPLETE = json.loads(FILE.read_text())["cases"]
SPARSE = json.loads(SPARSE_FILE.read_text())
# Five clients with four neighbours each, and nine with four; two of them may vanish.
# The ring has 18 bits, and 64: it is as wide as it may be.
PLANS = {
    "complete": secagg.plan(
        5, 1, 2, graph="complete", encoder=secagg.Encoder(value_bits=8, weight_max=200)
    ),
    "k-regular": secagg.plan(
        9,
        1,
        2,
        graph="k-regular",
        encoder=secagg.Encoder(value_bits=32, weight_max=2**32 // 9),
    ),
}
SESSION = b"second"
ROOT = Path(__file__).parents[2]


def silent_at(vanish, name, step):
    return name in vanish and STEPS.index(step) >= STEPS.index(vanish[name])


def play_published(page, case):
    """Play a published case; check each message; return the server and the mean."""
    plan = bytes.fromhex(case["plan"])
    updates, weights = inputs_of(case)
    names = list(updates)
    clients = [
        page.Client(
            plan,
            name,
            updates[name].tolist(),
            weights[name],
            context=page.H("context", b"vector"),
            draw=page.fixed_randomness(case["seed"], b"vector", name),
        )
        for name in names
    ]
    server = page.Server(plan, names, b"vector", case["length"])
    published = iter(case["messages"])

    def check(step, sender, receiver, data):
        assert next(published) == {
            "step": step,
            "sender": sender,
            "receiver": receiver,
            "bytes": len(data),
            "sha256": hashlib.sha256(data).hexdigest(),
        }

    requests = server.invite()
    after = [server.share_keys, server.deliver, server.ask_to_unmask, server.mean]
    for step, close in zip(STEPS, after, strict=True):
        answers = {}
        for index, request in requests.items():
            name = names[index]
            check(step, "server", name, request)
            if not silent_at(case["vanish"], name, step):
                answers[index] = clients[index].answer(request)
                check(step, name, "server", answers[index])
        requests = close(answers)
    assert not list(published), "messages are missing"
    assert [float(value).hex() for value in requests] == case["mean_float32"]
    return server


@pytest.mark.parametrize("case", [*COMPLETE, SPARSE], ids=range(len(COMPLETE) + 1))
def test_the_page_gives_every_published_message_and_mean(case):
    server = play_published(page_oracle, case)
    assert server.invitation.hex() == case["first_invitation"]
    assert [f"client-{i}" for i in sorted(server.uploads)] == case["survivors"]


def test_the_page_gives_the_published_graph():
    plan = page_oracle.Plan.read(bytes.fromhex(SPARSE["plan"]))
    round_id = bytes.fromhex(SPARSE["first_invitation"])[2:34]
    everybody = range(plan.clients)
    places = [page_oracle.place(client, plan, round_id) for client in everybody]
    assert places == SPARSE["place_of_client"]
    assert page_oracle.neighbourhoods(plan, round_id) == SPARSE["neighbours"]
    assert page_oracle.permutation_rounds(plan) == SPARSE["permutation_rounds"]


@pytest.mark.parametrize(("suite", "cipher"), [(1, "aes-256-ctr"), (4, "chacha20")])
def test_the_page_gives_mask_streams_over_more_than_a_segment(suite, cipher):
    key, count = bytes(range(32)), (1 << 18) // 8 + 5
    theirs = page_oracle.mask_stream(suite, key, count, 60)
    ours = stream_words(key, count, 64, cipher=cipher)
    assert theirs == (ours & np.uint64((1 << 60) - 1)).tolist()


def test_the_page_gives_the_fixed_randomness_and_the_context():
    rng = secagg.simulation_rng(7, "secagg round", SESSION.hex(), "site")
    draw = page_oracle.fixed_randomness(7, SESSION, "site")
    assert [rng(5), rng(40)] == [draw(5), draw(40)]
    assert page_oracle.H("context", b"vector") == CONTEXT


X25519 = "~7 & ~(1 << 255) | 1 << 254"
# Each line of the oracle that a constant or an order depends on, and a wrong one.
TAMPERED = [
    ('b"blindsum/secagg/2/"', 'b"blindsum/secagg/1/"'),
    ("number(len(part), 8) + part", "number(len(part), 4) + part"),
    ("return value.to_bytes(size, \"little\")", "return value.to_bytes(size, \"big\")"),
    ('return int.from_bytes(data, "little")', 'return int.from_bytes(data, "big")'),
    ("(2).to_bytes(4", "(1).to_bytes(4"),
    ('+ b"\\x01", "sha256")', '+ b"\\x02", "sha256")'),
    (X25519, "~3 & ~(1 << 255) | 1 << 254"),
    ("FIELD = 65537", "FIELD = 65539"),
    ("+ 24 + 4 * n.bit_length()", "+ 25 + 4 * n.bit_length()"),
    ("m = max(x, y)", "m = min(x, y)"),
    ("for s in (d, -d)", "for s in (d, -d - 1)"),
    ("x = holder + 1", "x = holder + 2"),
    ("self.mask_secret + self.b, powers", "self.b + self.mask_secret, powers"),
    ("words[i : i + 32] for i", "words[i : i + 32][::-1] for i"),
    ("packed(limbs[:16], 17)", "packed(limbs[:16], 18)"),
    ("number(dealer, 2) + number(holder, 2)", "number(holder, 2) + number(dealer, 2)"),
    ("((1, s_share), (2, b_share))", "((2, s_share), (1, b_share))"),
    ("MODE_GCM, nonce=bytes(12)", "MODE_GCM, nonce=bytes(11) + b'1'"),
    ("key=key, nonce=bytes(12)", "key=key, nonce=bytes(11) + b'1'"),
    ("size in (2, 4, 8) if", "size in (4, 8) if"),
    ("route(min(pair), max(pair))", "route(max(pair), min(pair))"),
    ("return 1 if u > v else -1", "return 1 if u < v else -1"),
    ("- 1.5) / reach", "- 1) / reach"),
    ("(1 + 2.0**-16)", "(1 + 2.0**-15)"),
    ("fixed + (word >>", "fixed - (word >>"),
    ("-(-64 // self.ring_bits)", "-(-80 // self.ring_bits)"),
    ("coefficients\", round_id + context", "coefficients\", context + round_id"),
    ("NEIGHBOUR_KEYS = 13", "NEIGHBOUR_KEYS = 9"),
    ("box_secret, self.mask_secret = self", "mask_secret, self.box_secret = self"),
    ("return number(2, 1) + number(tag, 1)", "return number(tag, 1) + number(2, 1)"),
    ("kind = 2 if survivors", "kind = 1 if survivors"),
]  # fmt: skip
TAGS = (
    "round key-list share-box-key share-box-data share-commitment seed-commitment "
    "pair-mask self-mask integrity-coefficients graph-order simulation "
    "context"
).split()


def oracle_with(tmp_path, old, new):
    """Return the oracle with one place of its source changed."""
    source = Path(page_oracle.__file__).read_text()
    assert source.count(old) == 1, "the oracle no longer has this line, or has two"
    path = tmp_path / "tampered_oracle.py"
    path.write_text(source.replace(old, new))
    spec = importlib.util.spec_from_file_location("tampered_oracle", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["tampered_oracle"] = module  # dataclasses look it up
    try:
        spec.loader.exec_module(module)
    finally:
        del sys.modules["tampered_oracle"]
    if X25519 not in old:  # the slowest part, and it remembers what it has computed
        module.x25519 = page_oracle.x25519
    return module


def gives_the_vectors(page):
    for case in (COMPLETE[1], SPARSE, COMPLETE[3]):  # the last with ChaCha20
        try:
            play_published(page, case)
        except (AssertionError, ValueError, OverflowError):
            return False
    return True


@pytest.mark.parametrize(("old", "new"), TAMPERED)
def test_an_oracle_with_another_constant_misses_the_vectors(tmp_path, old, new):
    page = oracle_with(tmp_path, old, new)
    assert not gives_the_vectors(page)


@pytest.mark.parametrize("tag", TAGS)
def test_an_oracle_with_another_tag_misses_the_vectors(monkeypatch, tag):
    honest = page_oracle.encoding

    def encoding(name, *parts):
        return honest(name + "s" if name == tag else name, *parts)

    page_oracle.place.cache_clear()
    monkeypatch.setattr(page_oracle, "encoding", encoding)
    try:
        assert not gives_the_vectors(page_oracle)
    finally:
        page_oracle.place.cache_clear()


def test_the_page_names_every_tag_of_the_oracle(monkeypatch):
    honest, seen = page_oracle.encoding, set()

    def encoding(name, *parts):
        seen.add(name)
        return honest(name, *parts)

    page_oracle.place.cache_clear()
    monkeypatch.setattr(page_oracle, "encoding", encoding)
    assert gives_the_vectors(page_oracle)
    assert seen == set(TAGS)
    page = (ROOT / "docs" / "protocol.md").read_text()
    for tag in {*TAGS, "advertise-signature"}:
        assert f'("{tag}",' in page or f', "{tag}",' in page, tag


def test_the_oracle_shares_no_code_with_this_package():
    tree = ast.parse(Path(page_oracle.__file__).read_text())
    named = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            named.add(node.module.partition(".")[0])
        elif isinstance(node, ast.Import):
            named |= {alias.name.partition(".")[0] for alias in node.names}
    own = {"functools", "hashlib", "hmac", "math", "struct", "collections"}
    assert named == own | {"dataclasses", "Crypto"}


class Round:
    """One round whose parties are of this package or of the oracle.

    Those in ``ours`` are this package's, ``silent`` says who vanishes at which step,
    and ``ones`` where in each client's stream of random bytes there are four of 0xff.
    """

    def __init__(
        self,
        plan,
        *,
        seed=0,
        ours=(),
        silent=None,
        page=page_oracle,
        length=7,
        ones=(),
        noise=False,
    ):
        chance = random.Random(seed)
        self.plan, self.silent, self.length = plan, silent or {}, length
        self.names = [f"client-{i}" for i in range(plan.clients)]
        self.identities = {
            name: secagg.IdentityKey.generate(chance.randbytes) for name in self.names
        }
        self.policy = open_policy(
            plan, roster={name: key.public for name, key in self.identities.items()}
        )
        self.vectors, self.rounded, self.weights, self.answers = {}, {}, {}, {}
        read = page_oracle.Plan.read(plan.encode())
        for name in self.names:
            vector = [chance.uniform(-6, 6) for _ in range(length)]
            weight = chance.randint(1, plan.encoder.weight_max)
            drawn = bytearray(chance.randbytes(8192))
            for at in ones:
                drawn[at : at + 4] = b"\xff" * 4
            self.rounded[name] = page_oracle.rounded(
                vector, read, bytes(drawn[:32]), weight, CONTEXT
            )
            self.weights[name] = weight
            self.vectors[name] = np.array(vector)
            more = [chance.randint(-31, 31) for _ in range(length)] if noise else None
            join = self.join_ours if name in ours else self.join_oracle
            draw = drawn_from(drawn)
            self.answers[name] = join(page, name, vector, weight, draw, more)

    def join_ours(self, page, name, vector, weight, draw, noise):
        key = self.identities[name]
        client = secagg.Client(self.plan, self.policy, me=name, key=key, rng=draw)
        share = None if noise is None else lambda length, rng: np.array(noise)
        client.offer(np.array(vector), weight=weight, context=CONTEXT, noise=share)

        def answer(request):
            (reply,) = client.receive(request)
            assert client.fault is None, client.fault
            return reply

        return answer

    def join_oracle(self, page, name, vector, weight, draw, noise):
        identity = self.identities[name].secret().expose()
        client = page.Client(
            self.plan.encode(),
            name,
            vector,
            weight,
            context=CONTEXT,
            draw=draw,
            identity=identity,
            noise=noise,
        )
        return client.answer

    def expected(self):
        """Return the mean and the weight without any protocol."""
        late = ("advertise_keys", "share_keys", "masked_input")
        left = [name for name in self.names if self.silent.get(name) not in late]
        weight = sum(self.weights[name] for name in left)
        totals = [
            sum(self.rounded[name][i] for name in left) for i in range(self.length)
        ]
        scale = page_oracle.Plan.read(self.plan.encode()).scale(self.length)
        mean = [np.float32(total / (scale * weight)) for total in totals]
        return mean, weight, frozenset(left)

    def true_mean(self):
        """Return the weighted mean of all vectors, unrounded and without noise."""
        weighted = [self.weights[name] * self.vectors[name] for name in self.names]
        return sum(weighted) / sum(self.weights.values())

    def on_our_server(self):
        roster = {name: key.public for name, key in self.identities.items()}
        server = secagg.Server(
            self.plan,
            self.names,
            session=SESSION,
            length=self.length,
            identities=roster,
        )
        sent = server.start()
        for step in STEPS:
            requests, sent, state = sent, (), server.state
            for name, request in requests:
                if not silent_at(self.silent, name, step):
                    sent += server.receive(name, self.answers[name](request))
            if server.state is state:
                sent += server.timeout()
        assert not server.faults
        out = server.result()
        return list(out.mean), out.weight, out.survivors

    def on_the_oracles_server(self):
        server = page_oracle.Server(
            self.plan.encode(), self.names, SESSION, self.length
        )
        requests = server.invite()
        after = [server.share_keys, server.deliver, server.ask_to_unmask, server.total]
        for step, close in zip(STEPS, after, strict=True):
            answers = {}
            for index, request in requests.items():
                if not silent_at(self.silent, self.names[index], step):
                    answers[index] = self.answers[self.names[index]](request)
            requests = close(answers)
        totals, weight = requests
        mean = [np.float32(one) for one in server.mean_of(totals, weight)]
        return mean, weight, frozenset(self.names[i] for i in server.uploads)


def drawn_from(stream):
    source = io.BytesIO(stream)

    def draw(count):
        drawn = source.read(count)
        assert len(drawn) == count, "make the stream longer"
        return drawn

    return draw


def check_a_mixed_round(plan, server, *, seed, ours, silent, length=7):
    party = Round(plan, seed=seed, ours=ours, silent=silent, length=length)
    on = {"ours": party.on_our_server, "oracle": party.on_the_oracles_server}[server]
    assert on() == party.expected()


@pytest.mark.parametrize("step", [None, *STEPS])
@pytest.mark.parametrize("server", ["ours", "oracle"])
@pytest.mark.parametrize("graph", PLANS)
def test_a_round_of_both_implementations_sums_exactly(graph, server, step):
    plan = PLANS[graph]
    last = f"client-{plan.clients - 1}"
    silent = {"client-1": step, last: step} if step else {}
    ours = {"client-0", "client-1", "client-2"}  # one of each kind vanishes
    check_a_mixed_round(plan, server, seed=graph, ours=ours, silent=silent)


# What the flags of an encoder change.


def flagged(**flags):
    encoder = secagg.Encoder(clip_norm_l2=64.0, value_bits=16, **flags)
    return secagg.plan(4, 1, 1, graph="complete", encoder=encoder)


FLAGGED = {
    "rotated": flagged(weight_max=10, rotate=True),
    "prescaled": flagged(weight_max=500, prescale=True),
    "rotated and prescaled": flagged(weight_max=500, prescale=True, rotate=True),
    "noised": flagged(weight_max=1, noise_bits=18),
    "rotated and noised": flagged(weight_max=1, noise_bits=18, rotate=True),
}


def means_of(which, length, page=page_oracle):
    """Return what rounds of ours, of both and of the page give, and the true mean."""
    found = []
    for ours in ([f"client-{i}" for i in range(4)], ["client-0", "client-2"], []):
        more = {"seed": which, "ours": ours, "length": length, "page": page}
        for ask in (Round.on_our_server, Round.on_the_oracles_server):
            party = Round(FLAGGED[which], noise="noised" in which, **more)
            found.append(np.array(ask(party)[0]))
    return found, party.true_mean()


@pytest.mark.parametrize("length", [7, 64, 100])
@pytest.mark.parametrize("which", FLAGGED)
def test_both_implementations_agree_on_what_flags_change(which, length):
    means, true = means_of(which, length)
    numbers = FLAGGED[which].encoder.at(length)
    for mean in means:
        # A rotated value that falls between two integers may be rounded otherwise.
        np.testing.assert_allclose(mean, means[0], atol=2 / numbers.scale, rtol=0)
        np.testing.assert_allclose(mean, true, atol=numbers.max_error, rtol=0)
        if which == "noised":  # up to 31 of each client, and the rounding
            np.testing.assert_allclose(mean, true, atol=32 / numbers.scale, rtol=0)


TAMPERED_FLAGS = [
    ("rotated", "m >= 64", "m >= 128"),
    ("rotated", 'H("rotation", context', 'H("rotations", context'),
    ("rotated", "self.raw[-14:]", "self.raw[-15:]"),
    ("rotated", "number(m, 8)", "number(m, 4)"),
    ("rotated", '"rotation-signs"', '"rotation-sign"'),
    ("rotated", "number(step, 1)", "number(step + 1, 1)"),
    ("rotated", "-1 if octets", "1 if not octets"),
    ("rotated", "[0, m - width]", "[m - width, 0]"),
    ("rotated", "3.179", "6.358"),
    ("rotated", "self.flags & 1", "self.flags & 2"),
    ("prescaled", "self.flags & 2", "self.flags & 1"),
    ("prescaled", "scale *= weight / plan.weight_max", "pass"),
    ("noised", "self.flags // 4", "self.flags // 8"),
    ("noised", "** (self.noise_bits - 1) - 2", "** (self.noise_bits + 1)"),
]


@pytest.mark.parametrize(("which", "old", "new"), TAMPERED_FLAGS)
def test_an_oracle_with_another_flag_or_rotation_disagrees(tmp_path, which, old, new):
    page = oracle_with(tmp_path, old, new)
    numbers = FLAGGED[which].encoder.at(100)
    try:
        means, _ = means_of(which, 100, page)
    except (AssertionError, IndexError, secagg.IntegrityError, secagg.AbortError):
        return
    assert np.abs(means[-1] - means[0]).max() > 2 / numbers.scale


# What the published vectors do not reach: whole rounds of our clients, to compare with.


def answers_of(plan, page=None, **more):
    """Return all that clients send in a round: the page's, or else ours."""
    everybody = () if page else [f"client-{i}" for i in range(plan.clients)]
    party, sent = Round(plan, ours=everybody, page=page, **more), []
    for name, answer in party.answers.items():

        def recorded(request, answer=answer):
            sent.append(answer(request))
            return sent[-1]

        party.answers[name] = recorded
    assert party.on_our_server() == party.expected()
    return sent


@pytest.mark.parametrize("graph", PLANS)
def test_nobody_can_tell_which_implementation_answers(graph):
    more = {"seed": graph, "silent": {"client-3": "masked_input"}}
    sent = answers_of(PLANS[graph], page_oracle, **more)
    assert sent == answers_of(PLANS[graph], **more)


# None of four may vanish: behind 128 bytes come two powers of 32 coefficients.
FOUR = secagg.plan(
    4, 1, 0, graph="complete", encoder=secagg.Encoder(value_bits=13, weight_max=2)
)


def test_a_coefficient_word_of_all_ones_is_drawn_again_after_all_others(tmp_path):
    # Words 3 and 40, and what is drawn in place of word 3.
    ones = [128 + 4 * 3, 128 + 4 * 40, 128 + 4 * 64]
    sent = answers_of(FOUR, ones=ones)
    assert answers_of(FOUR, page_oracle, ones=ones) == sent
    wrong = oracle_with(tmp_path, "if word == 2**32 - 1", "if word == 2**32")
    assert answers_of(FOUR, wrong, ones=ones) != sent


# A sum of weights up to 4 * 2 takes three bits, not four; 16 bits take one word of 16,
# and four of them hold 64 bits of checksums.
TAMPERED_FOR_16_BITS = [
    ("self.clients * self.weight_max - 1", "self.clients * self.weight_max"),
    ("if 8 * size >= bits", "if 8 * size >= bits + (bits == 16)"),
    ("-(-64 // self.ring_bits)", "-(-65 // self.ring_bits)"),
]


@pytest.mark.parametrize(("old", "new"), TAMPERED_FOR_16_BITS)
def test_a_ring_of_exactly_one_native_word_is_as_on_the_page(tmp_path, old, new):
    assert page_oracle.Plan.read(FOUR.encode()).ring_bits == 16
    assert answers_of(FOUR, page_oracle) == answers_of(FOUR)
    wrong = oracle_with(tmp_path, old, new)
    with pytest.raises((AssertionError, secagg.IntegrityError)):
        answers_of(FOUR, wrong)


def test_a_signature_under_another_tag_is_refused(tmp_path):
    wrong = oracle_with(tmp_path, '"advertise-signature"', '"advertise-signatures"')
    party = Round(FOUR, page=wrong)
    server = secagg.Server(
        FOUR, party.names, session=SESSION, length=7, identities=party.policy.roster
    )
    name, request = server.start()[0]
    server.receive(name, party.answers[name](request))
    assert isinstance(server.faults[0].error, AuthenticationError)


@pytest.mark.parametrize("server", ["ours", "oracle"])
@pytest.mark.parametrize("damage", [2 + 32 + 2 + 2 + 2, 2 + 32 + 2 + 2 + 34 + 5])
def test_a_damaged_hash_or_box_costs_one_share(server, damage):
    plan = PLANS["complete"]
    party = Round(plan, ours=["client-0"], seed=damage)
    for name in ("client-0", "client-1"):

        def answer(request, answer=party.answers[name]):
            data = bytearray(request)
            if data[1] == page_oracle.DELIVERY:
                data[damage] ^= 1
            return answer(bytes(data))

        party.answers[name] = answer
    on = {"ours": party.on_our_server, "oracle": party.on_the_oracles_server}[server]
    assert on() == party.expected()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("number(m // 128, 8)", "number(m // 256, 8)"),
        ("(m % 128)", "(m % 64)"),
        ("plan.sigma + plan.grinding", "plan.sigma"),
    ],
)
def test_the_page_gives_the_same_ring_of_many(tmp_path, old, new):
    plan = secagg.plan(600, 30, 30, graph="k-regular", grinding_bits=20)
    read, round_id = page_oracle.Plan.read(plan.encode()), bytes(range(32))
    some = [0, 1, 127, 128, 255, 256, 599]
    places = graph_of(plan, round_id).order.images(some)
    assert [page_oracle.place(u, read, round_id) for u in some] == places
    wrong = oracle_with(tmp_path, old, new)
    assert [wrong.place(u, read, round_id) for u in some] != places


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(60))
def test_random_rounds_of_both_implementations_sum_exactly(seed):
    chance = random.Random(seed)
    graph = chance.choice(["complete", "k-regular"])
    clients = chance.randint(4, 9) if graph == "complete" else chance.randint(6, 14)
    drop = chance.randint(0, (clients - 1) // 3)
    bits = chance.randint(2, 32)
    encoder = secagg.Encoder(
        clip_norm_l2=64.0,
        value_bits=bits,
        weight_max=chance.choice([1, 2, 4, 100, 65535, 2**32 // clients]),
    )
    try:
        plan = secagg.plan(clients, 1, drop, graph=graph, encoder=encoder)
    except secagg.ParameterError:
        plan = secagg.plan(clients, 1, drop, graph="complete", encoder=encoder)
    names = [f"client-{i}" for i in range(clients)]
    gone = chance.sample(names, chance.randint(0, drop))
    silent = {name: chance.choice(STEPS) for name in gone}
    ours = set(chance.sample(names, chance.randint(0, clients)))
    length = chance.randint(1, 60)
    for server in ("ours", "oracle"):
        check_a_mixed_round(
            plan, server, seed=seed, ours=ours, silent=silent, length=length
        )
