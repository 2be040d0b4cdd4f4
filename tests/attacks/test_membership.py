import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attacks import (
    ParameterError,
    TooFewShadows,
    auc,
    balanced_memberships,
    bootstrap_auc,
    lira,
    logit_scaled_confidence,
    loss_threshold,
    rotate,
)


def toy(shadows, records, seed, *, leak=1.0):
    """Heterogeneous Gaussian phi: each record has its own level, spread and shift."""
    rng = np.random.default_rng(seed)
    level = rng.normal(0, 2, records)
    spread = np.exp(rng.normal(0, 0.3, records))
    shift = leak * np.abs(rng.normal(0, 1, records)) * spread
    members = balanced_memberships(shadows, records, 0.5, seed)
    phi = level + shift * members + spread * rng.normal(size=members.shape)
    return phi, members


def scored(phi, members, **settings):
    scores = lira(phi[0], phi[1:], members[1:], **settings)
    return auc(scores[members[0]], scores[~members[0]])


def test_lira_beats_the_loss_threshold_where_records_differ():
    phi, members = toy(17, 4000, 0)
    loss = np.log1p(np.exp(-phi[0]))
    plain = loss_threshold(loss)
    threshold = auc(plain[members[0]], plain[~members[0]])
    assert scored(phi, members) > threshold + 0.05


def test_shrinking_pays_with_few_shadows():
    phi, members = toy(17, 4000, 1)
    own = scored(phi, members, variance="per_example")
    assert scored(phi, members) > own
    # Both sides of this toy have one variance: sharing it pays here.
    shrunk = scored(phi, members, variance="shrunk")
    assert shrunk > max(own, scored(phi, members, variance="pooled"))


def test_shuffled_membership_scores_at_one_half():
    phi, _ = toy(17, 400, 2)
    shuffled = balanced_memberships(17, 400, 0.5, 99)
    found = bootstrap_auc(rotate(phi, shuffled), seed=0)
    assert found.low <= 0.5 <= found.high
    assert found.high - found.low < 0.1


def test_rotation_finds_what_leaks():
    phi, members = toy(20, 400, 3)
    results = rotate(phi, members)
    assert len(results) == 20
    assert bootstrap_auc(results, seed=0).low > 0.55
    for row, result in enumerate(results):
        assert np.array_equal(result.member_ids, np.flatnonzero(members[row]))


def slow_lira(target, phi, members, variance):
    """One record at a time, by the formulas."""
    inside = [phi[members[:, i], i] for i in range(len(target))]
    outside = [phi[~members[:, i], i] for i in range(len(target))]
    sums = [
        ((a - a.mean()) ** 2).sum() + ((b - b.mean()) ** 2).sum()
        for a, b in zip(inside, outside, strict=True)
    ]
    free = len(phi) - 2
    typical = np.mean([s / free for s in sums])
    spreads = [np.mean([x.var(ddof=1) for x in side]) for side in (inside, outside)]
    scores = []
    for i, (a, b) in enumerate(zip(inside, outside, strict=True)):
        if variance == "by_side":
            va, vb = (
                (((x - x.mean()) ** 2).sum() + 6 * spread) / (len(x) - 1 + 6)
                for x, spread in ((a, spreads[0]), (b, spreads[1]))
            )
        elif variance == "shrunk":
            va = vb = (sums[i] + 6 * typical) / (free + 6)
        elif variance == "per_example":
            va, vb = a.var(ddof=1), b.var(ddof=1)
        else:
            va = sum(((x - x.mean()) ** 2).sum() for x in inside)
            va /= sum(len(x) - 1 for x in inside)
            vb = sum(((x - x.mean()) ** 2).sum() for x in outside)
            vb /= sum(len(x) - 1 for x in outside)
        x = target[i]
        log_in = -((x - a.mean()) ** 2) / (2 * va) - np.log(va) / 2
        log_out = -((x - b.mean()) ** 2) / (2 * vb) - np.log(vb) / 2
        scores.append(log_in - log_out)
    return np.array(scores)


@pytest.mark.parametrize("variance", ["shrunk", "by_side", "pooled", "per_example"])
def test_lira_equals_the_formulas_record_by_record(variance):
    phi, members = toy(17, 50, 4)
    found = lira(phi[0], phi[1:], members[1:], variance=variance)
    oracle = slow_lira(phi[0], phi[1:], members[1:], variance)
    np.testing.assert_allclose(found, oracle, rtol=1e-9)


def test_identical_shadow_outputs_stay_finite():
    _, members = toy(17, 30, 5)
    for variance in ("shrunk", "pooled", "per_example"):
        scores = lira(np.ones(30), np.ones((17, 30)), members, variance=variance)
        assert np.isfinite(scores).all() and np.ptp(scores) == 0


def test_too_few_shadows_are_refused():
    phi, members = toy(16, 20, 6)
    with pytest.raises(TooFewShadows) as caught:
        lira(phi[0], phi[1:], members[1:])
    assert (caught.value.need, caught.value.have) == (16, 15)
    with pytest.raises(TooFewShadows):
        rotate(phi, members)
    for sign in (True, False):
        lopsided = members.copy()
        lopsided[:, 3] = sign
        lopsided[0, 3] = not sign
        with pytest.raises(TooFewShadows):
            lira(phi[0], phi, lopsided)


def test_arrays_that_do_not_fit_are_refused():
    phi, members = toy(16, 20, 7)
    for target, shadow, inside in (
        (phi[0, :5], phi, members),
        (phi[0], phi, members[:, :5]),
        (phi[0], phi, members.astype(int)),
        (phi[0], np.where(members, np.inf, phi), members),
    ):
        with pytest.raises(ParameterError):
            lira(target, shadow, inside)
    with pytest.raises(ParameterError):
        lira(phi[0], phi, members, variance="none")


def test_confidence_equals_the_log_odds_and_keeps_its_digits():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (3, 40, 5))
    labels = rng.integers(0, 5, 40)
    found = logit_scaled_confidence(logits, labels)
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    own = np.take_along_axis(p, labels[None, :, None].repeat(3, 0), -1)[..., 0]
    np.testing.assert_allclose(found, np.log(own / (1 - own)), rtol=1e-9)
    sure = np.array([[80.0, 0.0, 0.0]])
    exact = logit_scaled_confidence(sure, np.array([0]))
    np.testing.assert_allclose(exact, [80 - np.log(2)], rtol=1e-12)
    huge = logit_scaled_confidence(np.array([[1e4, -1e4]]), np.array([1]))
    assert huge.tolist() == [-2e4]


@pytest.mark.parametrize(
    "call",
    [
        lambda: loss_threshold(np.array([np.nan])),
        lambda: loss_threshold(np.zeros((2, 2))),
        lambda: logit_scaled_confidence(np.zeros((2, 1)), np.zeros(2, int)),
        lambda: logit_scaled_confidence(np.zeros((2, 3)), np.zeros(3, int)),
        lambda: logit_scaled_confidence(np.zeros((2, 3)), np.array([0, 3])),
        lambda: logit_scaled_confidence(np.full((2, 3), np.inf), np.zeros(2, int)),
    ],
)
def test_unusable_signals_are_refused(call):
    with pytest.raises(ParameterError):
        call()


def test_a_low_loss_scores_high():
    assert loss_threshold(np.array([0.1, 5.0])).argmax() == 0


@settings(deadline=None, max_examples=60)
@given(
    shadows=st.integers(2, 40),
    records=st.integers(1, 200),
    fraction=st.floats(0.1, 0.9),
    seed=st.integers(0, 2**32),
)
def test_memberships_are_balanced_both_ways(shadows, records, fraction, seed):
    each = round(shadows * fraction)
    if not 0 < each < shadows:
        with pytest.raises(ParameterError):
            balanced_memberships(shadows, records, fraction, seed)
        return
    members = balanced_memberships(shadows, records, fraction, seed)
    assert members.shape == (shadows, records) and members.dtype == np.bool_
    assert (members.sum(axis=0) == each).all()
    assert np.ptp(members.sum(axis=1)) <= 1
    again = balanced_memberships(shadows, records, fraction, seed)
    assert np.array_equal(members, again)


def test_memberships_of_two_records_are_nearly_independent():
    members = balanced_memberships(16, 3000, 0.5, 0)
    together = members[:, 0::2] == members[:, 1::2]
    # Two random halves of 16 agree on 8 on average.
    assert abs(together.mean() - 0.5) < 0.02
