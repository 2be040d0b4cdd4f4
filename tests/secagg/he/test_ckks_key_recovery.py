"""Why a CKKS mean is for clients only: with it, a server has the key.

The attack of Li and Micciancio (EUROCRYPT 2021, ePrint 2020/1533) on sums with real
slots.  With p = c0 + c1 s the decrypted polynomial, these show p(X) + p(1 / X), which
is linear in the key; at point i of the transform, where 1 / X is point N - 1 - i, two
ciphertexts give two equations for the two values of s there.
"""

import numpy as np
import pytest

import secagg
from secagg.approximate import ApproximateInput
from secagg.approximate_frame import DEGREE, PRIMES, SCALE, SLOTS
from secagg.he.ckks import ApproximateSum
from secagg.he.seal import require_tenseal

PRIME = PRIMES[1]
CONTEXT = secagg.context(b"model")


@pytest.fixture(scope="module")
def played():
    pytest.importorskip("tenseal", reason='needs pip install "blindsum[he]"')
    rng = np.random.default_rng(0)
    vectors = {n: rng.normal(size=2 * SLOTS).astype(np.float32) for n in "ab"}
    aggregator = ApproximateSum(clients=2, clip_norm_l2=200.0, weight_max=1)
    out = aggregator.play(
        vectors, dict.fromkeys("ab", 1), context=CONTEXT, session=b"s"
    )
    key = aggregator._keys.key(None)._secret.data().dyn_array()
    true = [key.at(DEGREE + i) for i in range(DEGREE)]  # modulo the second prime
    return out, true


def points_of(slots):
    """Return the transform, modulo PRIME, of the polynomial with these slots."""
    from secagg.he.ckks_keys import _shared

    api = require_tenseal()
    plain = api.Plaintext()
    api.CKKSEncoder(_shared()).encode(slots.tolist(), SCALE, plain)
    return [plain.dyn_array().at(DEGREE + i) for i in range(DEGREE)]


def solved(transcript, mean, weight):
    """Return the key as it follows from what the server saw and a published mean."""
    sent = [
        ApproximateInput.decode(wire.data).residues()[1].astype(object)
        for wire in transcript.messages
        if wire.receiver == "server"
    ]
    total = sum(sent)[:2] % PRIME  # two ciphertexts, their c0 and c1
    shown = [points_of(2 * weight * mean[k * SLOTS : (k + 1) * SLOTS]) for k in (0, 1)]
    found = [0] * DEGREE
    for i in range(SLOTS):
        j = DEGREE - 1 - i
        (a, b, r), (c, d, t) = (
            (c1[i], c1[j], shown[k][i] - c0[i] - c0[j])
            for k, (c0, c1) in enumerate(total)
        )
        inverse = pow(a * d - b * c, -1, PRIME)
        found[i] = (r * d - b * t) * inverse % PRIME
        found[j] = (a * t - r * c) * inverse % PRIME
    return found


def test_a_published_mean_gives_the_server_the_whole_key(played):
    out, true = played
    result = out.result.shown_to_clients()
    assert solved(out.transcript, result.mean, result.weight) == true


def test_a_mean_without_its_noise_gives_it_nothing(played):
    out, true = played
    result = out.result.shown_to_clients()
    rounded = np.rint(result.mean * 2**20) / 2**20  # as BFV would have decrypted
    found = solved(out.transcript, rounded, result.weight)
    assert sum(a == b for a, b in zip(found, true, strict=True)) < 10
