"""``SelectiveSum`` beyond the contract: what is open, what is hidden, who opens it."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

import secagg
from secagg.aggregator import Aggregate, Aggregator
from secagg.errors import AbortError, ParameterError
from secagg.he import (
    EncryptedSum,
    Selection,
    SelectiveSum,
    ThresholdUnavailableError,
    require_threshold,
)

LENGTH = 40
ENCODER = secagg.Encoder()
CONTEXT = secagg.context(b"model")
CLIENTS = tuple(f"site-{i}" for i in range(4))
WEIGHTS = {name: i + 1 for i, name in enumerate(CLIENTS)}
RNG = np.random.default_rng(5)
VECTORS = {name: RNG.normal(size=LENGTH).astype(np.float32) for name in CLIENTS}
SCORES = RNG.normal(size=LENGTH)
RESTS: dict[str, Callable[[], Aggregator]] = {
    "plain": secagg.PlainSum,
    "masked": lambda: secagg.PairwiseMask(secagg.plan(4, 1, 1)),
}


def make(rest: str, fraction: float = 0.25) -> SelectiveSum:
    pytest.importorskip("tenseal", reason='needs pip install "blindsum[he]"')
    selection = Selection.top(SCORES, fraction)
    return SelectiveSum(selection, EncryptedSum(ENCODER, 4), RESTS[rest]())


def run(aggregator: Aggregator, **change: object) -> Aggregate:
    arguments = {
        "vectors": VECTORS,
        "weights": WEIGHTS,
        "context": CONTEXT,
        "session": b"round-1",
        "seed": b"seed",
    } | change
    return aggregator.aggregate(**arguments)


@pytest.mark.parametrize("fraction", [0.001, 0.25, 0.5, 0.999])
def test_the_highest_scores_are_hidden_and_ties_go_to_the_first(fraction):
    coarse = np.round(SCORES)  # many ties
    order = sorted(range(LENGTH), key=lambda i: (-coarse[i], i))
    count = min(int(np.ceil(fraction * LENGTH)), LENGTH - 1)
    hidden = Selection.top(coarse, fraction).hidden
    assert np.flatnonzero(hidden).tolist() == sorted(order[:count])


@pytest.mark.parametrize(
    "make_one",
    [
        lambda: Selection.top(SCORES, 0.0),
        lambda: Selection.top(SCORES, 1.0),
        lambda: Selection.top(np.array([1.0, np.nan]), 0.5),
        lambda: Selection.top(np.ones(1), 0.5),
        # Negated to be sorted, 3 would become 253 here and 0 the highest score.
        lambda: Selection.top(np.array([3, 0, 1, 2], dtype=np.uint8), 0.25),
        lambda: Selection.top(np.array([-128, 0, 1, 2], dtype=np.int8), 0.25),
        lambda: Selection.top(np.array([True, False]), 0.5),
        lambda: Selection.of(np.ones(8, dtype=np.bool_)),
        lambda: Selection.of(np.zeros(8, dtype=np.bool_)),
        lambda: Selection.of(np.ones(8, dtype=np.int64)),
        lambda: Selection(9, b"\xf0"),
        lambda: Selection(7, b"\xf1"),  # a bit beyond the end
    ],
)
def test_a_selection_without_two_parts_is_refused(make_one):
    with pytest.raises(ParameterError):
        make_one()


def test_parts_of_a_vector_go_back_to_their_places():
    selection = Selection.top(SCORES, 0.3)
    vector, flags = VECTORS["site-0"], selection.hidden
    joined = selection.join(vector[flags], vector[~flags])
    assert joined.tobytes() == vector.tobytes()


def test_the_context_binds_the_selection_the_part_and_the_round():
    one, other = (Selection.top(SCORES, fraction) for fraction in (0.3, 0.35))
    longer = Selection(LENGTH - 7, bytes([*one.bitmap[:-1], 0]))
    seen = {
        chosen.context(outer, part)
        for chosen in (one, other, longer)
        for outer in (CONTEXT, bytes(32))
        for part in (b"hidden", b"rest")
    }
    assert len(seen) == 12 and CONTEXT not in seen


def test_the_server_reads_the_open_part_exactly_and_the_hidden_one_not_at_all():
    aggregator = make("plain")
    flags = aggregator.selection.hidden
    out = run(aggregator)
    for name, upload in out.transcript.uploads().items():
        assert np.array_equal(upload.known, ~flags)
        assert upload.weight == WEIGHTS[name]
        assert np.array_equal(upload.vector[~flags], VECTORS[name][~flags])
    # One seed and other hidden values: the messages differ in ciphertexts alone, whose
    # sizes stay the same.
    moved = {name: np.where(flags, 1, v) for name, v in VECTORS.items()}
    other = run(aggregator, vectors=moved).transcript
    assert other.rest.messages == out.transcript.rest.messages
    assert [len(one.data) for one in other.messages] == [
        len(one.data) for one in out.transcript.messages
    ]


def test_under_masks_no_part_of_an_upload_can_be_told_from_noise():
    uploads = run(make("masked")).transcript.uploads()
    for name, upload in uploads.items():
        assert upload.known is None and upload.weight is None
        assert np.abs(upload.vector - VECTORS[name]).min() > 1e-3


@pytest.mark.parametrize("rest", RESTS)
def test_the_shared_key_opens_the_encrypted_part_and_no_mask(rest):
    aggregator = make(rest)
    flags, out = aggregator.selection.hidden, run(aggregator)
    for name, upload in aggregator.opened(out.transcript).items():
        seen = np.ones(LENGTH, bool) if upload.known is None else upload.known
        assert np.array_equal(seen, flags | (rest == "plain"))
        gap = np.abs(upload.vector - VECTORS[name])[seen].max()
        assert gap <= 1 / ENCODER.scale + 1e-6
        assert upload.weight == WEIGHTS[name]


def test_only_a_transcript_of_its_own_is_opened():
    aggregator = make("plain")
    plain = run(secagg.PlainSum())
    with pytest.raises(ParameterError, match="no selective sum"):
        aggregator.opened(plain.transcript)


def test_vectors_of_another_length_are_refused():
    short = {name: vector[:-1] for name, vector in VECTORS.items()}
    with pytest.raises(ParameterError, match=r"length=40"):
        run(make("plain"), vectors=short)


def test_parts_that_hold_different_clients_give_no_sum():
    class Loses(secagg.PlainSum):
        name = "loses"

        def aggregate(self, vectors, weights, **others):
            out = secagg.PlainSum().aggregate(vectors, weights, **others)
            return replace(out, survivors=out.survivors - {"site-0"})

    aggregator = replace(make("plain"), rest=Loses())
    with pytest.raises(AbortError, match="different clients"):
        run(aggregator)


def test_a_tenth_encrypted_sends_less_than_all_encrypted():
    long = {name: np.resize(VECTORS[name], 20_000) / 20 for name in CLIENTS[:2]}
    two = {name: 1 for name in long}
    whole = EncryptedSum(ENCODER, 4)
    scores = np.resize(SCORES, 20_000)
    part = SelectiveSum(Selection.top(scores, 0.1), whole, secagg.PlainSum())
    pytest.importorskip("tenseal", reason='needs pip install "blindsum[he]"')
    sent = [
        run(one, vectors=long, weights=two).bytes_up["site-0"] for one in (whole, part)
    ]
    assert sent[1] < 0.4 * sent[0]


def test_a_key_that_nobody_holds_whole_is_refused_with_reason_and_cure():
    with pytest.raises(ThresholdUnavailableError) as caught:
        require_threshold()
    assert "OpenFHE" in str(caught.value) and "use PairwiseMask" in str(caught.value)
    assert caught.value.argument == "threshold"


def test_a_rest_whose_uploads_nobody_can_speak_for_is_refused() -> None:
    inner = make("plain")
    with pytest.raises(ParameterError, match="PlainSum or PairwiseMask"):
        replace(inner, rest=inner)
