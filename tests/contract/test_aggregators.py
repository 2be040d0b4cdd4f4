"""What every aggregator owes its callers; each implementation runs all of it."""

from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest

import secagg
from secagg.aggregator import Aggregate, Aggregator
from secagg.errors import AbortError, ParameterError
from secagg.he import CompactSum, EncryptedSum, Selection, SelectiveSum
from secagg.he.ckks import ApproximateSum
from secagg.he.seal import reads_saved
from secagg.invite import SERVER

LENGTH = 17
CONTEXT = secagg.context(b"model", b"config")
CLIENTS = [f"site-{i}" for i in range(6)]
WEIGHTS = {name: 3 * i + 1 for i, name in enumerate(CLIENTS)}
STEPS = ["advertise_keys", "share_keys", "masked_input", "unmask"]

PLANS = {
    "pairwise": secagg.plan(6, 1, 1, graph="complete"),
    "pairwise, k-regular": secagg.plan(6, 1, 1, graph="k-regular"),
}
IMPLEMENTATIONS: dict[str, Callable[[], Aggregator]] = {
    "plain": secagg.PlainSum,
    "pairwise": lambda: secagg.PairwiseMask(PLANS["pairwise"]),
    "pairwise, k-regular": lambda: secagg.PairwiseMask(PLANS["pairwise, k-regular"]),
    "he": lambda: EncryptedSum(secagg.Encoder(), clients=6),
    "he, selective": lambda: selective(secagg.PlainSum()),
    "he, compact": lambda: CompactSum(secagg.Encoder(), clients=6),
    "he-ckks": lambda: ApproximateSum(clients=6).at_clients(),
}


def selective(rest: Aggregator) -> SelectiveSum:
    return SelectiveSum(
        Selection.top(np.cos(np.arange(LENGTH)), 0.3),
        EncryptedSum(secagg.Encoder(), clients=6),
        rest,
    )


def make(name: str) -> Aggregator:
    if name.startswith("he"):
        pytest.importorskip("tenseal", reason='needs pip install "blindsum[he]"')
    if name == "he, compact" and not reads_saved():
        pytest.skip("needs Linux, and the package zstandard")
    return IMPLEMENTATIONS[name]()


@pytest.fixture(params=IMPLEMENTATIONS)
def aggregator(request: pytest.FixtureRequest) -> Aggregator:
    return make(request.param)


def make_vectors(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=LENGTH).astype(np.float32) for name in CLIENTS}


def aggregate(aggregator: Aggregator, **change: object) -> Aggregate:
    arguments = {
        "vectors": make_vectors(),
        "weights": WEIGHTS,
        "context": CONTEXT,
        "session": b"round-1",
        "seed": b"seed",
    } | change
    vectors, weights = arguments.pop("vectors"), arguments.pop("weights")
    return aggregator.aggregate(vectors, weights, **arguments)


def assert_is_the_mean(out: Aggregate, vectors, weights, survivors) -> None:
    assert out.mean.dtype == np.float32 and out.mean.shape == (LENGTH,)
    assert out.survivors == frozenset(survivors)
    total = sum(weights[name] for name in survivors)
    assert out.weight == total
    for i, got in enumerate(out.mean):
        exact = sum(weights[n] * Fraction(float(vectors[n][i])) for n in survivors)
        assert abs(Fraction(float(got)) - exact / total) <= Fraction(out.max_error)


def test_the_mean_is_the_exact_weighted_mean_within_max_error(aggregator):
    for seed in (0, 1):
        vectors = make_vectors(seed)
        out = aggregate(aggregator, vectors=vectors)
        assert_is_the_mean(out, vectors, WEIGHTS, CLIENTS)


@pytest.mark.parametrize("step", STEPS)
def test_every_single_dropout_at_every_step_leaves_the_mean_of_the_rest(
    aggregator, step
):
    for name in CLIENTS:
        out = aggregate(aggregator, vanish={name: step})
        counted = set(CLIENTS) if step == "unmask" else set(CLIENTS) - {name}
        assert_is_the_mean(out, make_vectors(), WEIGHTS, counted)


def test_when_everybody_vanishes_there_is_no_sum(aggregator):
    with pytest.raises(AbortError) as caught:
        aggregate(aggregator, vanish=dict.fromkeys(CLIENTS, "masked_input"))
    assert caught.value.have == 0 and caught.value.step == "masked_input"


def test_a_seed_repeats_the_round_bit_for_bit(aggregator):
    one, two = aggregate(aggregator), aggregate(aggregator)
    assert one.transcript == two.transcript
    assert one.mean.tobytes() == two.mean.tobytes()


def test_without_a_seed_the_result_is_the_same_mean(aggregator):
    out = aggregate(aggregator, seed=None)
    assert_is_the_mean(out, make_vectors(), WEIGHTS, CLIENTS)


def test_the_transcript_is_complete(aggregator):
    out = aggregate(aggregator, vanish={"site-2": "masked_input"})
    up, down = dict.fromkeys(CLIENTS, 0), dict.fromkeys(CLIENTS, 0)
    for wire in out.transcript.messages:
        assert SERVER in (wire.sender, wire.receiver) and wire.sender != wire.receiver
        assert wire.step in STEPS
        if wire.receiver == SERVER:
            up[wire.sender] += len(wire.data)
        else:
            down[wire.receiver] += len(wire.data)
    assert dict(out.bytes_up) == up and dict(out.bytes_down) == down
    assert set(out.transcript.uploads()) == set(CLIENTS) - {"site-2"}


def test_uploads_have_the_shape_of_the_input(aggregator):
    for upload in aggregate(aggregator).transcript.uploads().values():
        assert upload.vector.shape == (LENGTH,)
        assert upload.vector.dtype == np.float64


def test_the_inputs_are_left_alone(aggregator):
    vectors = make_vectors()
    copies = {name: vector.copy() for name, vector in vectors.items()}
    aggregate(aggregator, vectors=vectors)
    assert all(np.array_equal(vectors[n], copies[n]) for n in CLIENTS)


def test_costs_are_measured(aggregator):
    out = aggregate(aggregator)
    assert 0 <= out.client_cpu_s < 5 and 0 <= out.server_cpu_s < 5
    assert aggregator.name


@pytest.mark.parametrize(
    "change",
    [
        {"vectors": {}},
        {"weights": dict.fromkeys(CLIENTS[:4], 1)},
        {"weights": WEIGHTS | {"site-9": 1}},
        {"weights": WEIGHTS | {"site-1": 0}},
        {"weights": WEIGHTS | {"site-1": 1.5}},
        {"weights": WEIGHTS | {"site-1": True}},
        {"vanish": {"site-9": "unmask"}},
        {"vanish": {"site-1": "lunch"}},
        {"vectors": make_vectors() | {"site-1": np.ones(LENGTH + 1, np.float32)}},
        {"vectors": make_vectors() | {"site-1": np.full(LENGTH, np.nan, np.float32)}},
        {"vectors": make_vectors() | {"site-1": np.ones(LENGTH, dtype=np.int64)}},
    ],
)
def test_bad_arguments_are_refused(aggregator, change):
    with pytest.raises(ParameterError):
        aggregate(aggregator, **change)


# --- across implementations, and what distinguishes them ---------------------------


@pytest.mark.parametrize("name", [name for name in IMPLEMENTATIONS if name != "plain"])
def test_all_implementations_agree_within_their_bounds(name):
    vanish = {"site-4": "masked_input"}
    first = aggregate(secagg.PlainSum(), vanish=vanish)
    other = aggregate(make(name), vanish=vanish)
    gap = np.abs(first.mean.astype(float) - other.mean.astype(float)).max()
    assert gap <= first.max_error + other.max_error
    assert (other.survivors, other.weight) == (first.survivors, first.weight)


def test_a_plain_upload_is_the_input_and_its_weight():
    vectors = make_vectors()
    for name, upload in aggregate(secagg.PlainSum()).transcript.uploads().items():
        assert np.array_equal(upload.vector, vectors[name].astype(np.float64))
        assert upload.weight == WEIGHTS[name]


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_a_masked_upload_hides_vector_and_weight(plan):
    # Same seed, different inputs and weights: all differences between the transcripts
    # lie in the masked words, and one upload says nothing about its vector.
    pairwise = secagg.PairwiseMask(plan)
    one = aggregate(pairwise)
    two = aggregate(
        pairwise, vectors=make_vectors(9), weights=dict.fromkeys(CLIENTS, 60_000)
    )
    for a, b in zip(one.transcript.messages, two.transcript.messages, strict=True):
        assert len(a.data) == len(b.data)
        is_upload = a.step == "masked_input" and a.receiver == SERVER
        assert (a.data == b.data) == (not is_upload)
    vectors = make_vectors()
    # A masked word is uniform in +-2^(r-1); an input is within 2^(value_bits-1).
    reach = 2.0 ** (plan.encoder.ring_bits(6) - 1) / plan.encoder.scale
    for name, upload in one.transcript.uploads().items():
        assert upload.weight is None
        assert np.abs(upload.vector - vectors[name]).max() > reach / 100


@pytest.mark.parametrize("name", PLANS)
def test_the_sum_of_masked_uploads_alone_is_not_the_sum(name):
    uploads = aggregate(IMPLEMENTATIONS[name]())
    total = sum(u.vector for u in uploads.transcript.uploads().values())
    assert np.abs(total / sum(WEIGHTS.values()) - uploads.mean).max() > 1e3


@pytest.mark.parametrize("name", PLANS)
def test_more_dropouts_than_planned_abort_with_counts(name):
    pairwise = IMPLEMENTATIONS[name]()
    with pytest.raises(AbortError) as caught:
        aggregate(pairwise, vanish={"site-0": "share_keys", "site-1": "unmask"})
    assert (caught.value.step, caught.value.need, caught.value.have) == ("unmask", 5, 4)
