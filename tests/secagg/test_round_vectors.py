"""End-to-end vectors: seed -> digest of every message -> sum.

``python -m tests.secagg.test_round_vectors`` prints a fresh file; a change of the wire
format raises ``usage.VERSION`` and adds a file, and the old one stays.
"""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

import secagg
from secagg import usage
from secagg.encoder import Encoder

FILE = Path(__file__).parents[1] / "vectors" / f"secagg_round_v{usage.VERSION}.json"

CASES = [
    {
        "clients": 4,
        "corrupt": 1,
        "drop": 1,
        "length": 6,
        "seed": 1,
        "vanish": {"client-2": "masked_input"},
        "encoder": {"clip_norm_l2": 16.0, "value_bits": 24, "weight_max": 65535},
    },
    {
        "clients": 3,
        "corrupt": 0,
        "drop": 0,
        "length": 3,
        "seed": 2,
        "vanish": {},
        "encoder": {"clip_norm_l2": 4.0, "value_bits": 12, "weight_max": 1},
    },
    {
        "clients": 6,
        "corrupt": 2,
        "drop": 2,
        "length": 40,
        "seed": 3,
        "vanish": {"client-0": "share_keys", "client-5": "unmask"},
        "encoder": {"clip_norm_l2": 8.0, "value_bits": 32, "weight_max": 100},
    },
]


def run_case(case: dict) -> dict:
    """Run one round from public parameters and describe all that crossed the wire."""
    encoder = Encoder(**case["encoder"])
    plan = secagg.plan(
        clients=case["clients"],
        corrupt=case["corrupt"],
        drop=case["drop"],
        encoder=encoder,
    )
    # Inputs are exact binary fractions, so that any implementation reads the same.
    updates = {
        f"client-{i}": (np.arange(case["length"]) % 7 - 3) * (i + 1) / 64
        for i in range(case["clients"])
    }
    weights = {name: min(i + 1, encoder.weight_max) for i, name in enumerate(updates)}
    out = secagg.run_round(
        plan,
        updates,
        weights=weights,
        vanish=case["vanish"],
        session=b"vector",
        context=secagg.context(b"vector"),
        seed=case["seed"],
    )
    return {
        **case,
        "plan": plan.encode().hex(),
        "messages": [
            {
                "step": wire.step,
                "sender": wire.sender,
                "receiver": wire.receiver,
                "bytes": len(wire.data),
                "sha256": hashlib.sha256(wire.data).hexdigest(),
            }
            for wire in out.transcript.messages
        ],
        "first_invitation": out.transcript.messages[0].data.hex(),
        "survivors": sorted(out.survivors),
        "weight": out.weight,
        "mean_float32": [float(value).hex() for value in out.mean],
    }


@pytest.mark.parametrize("index", range(len(CASES)))
def test_rounds_match_the_published_vectors(index):
    published = json.loads(FILE.read_text())
    assert published["version"] == usage.VERSION
    assert len(published["cases"]) == len(CASES)
    assert run_case(CASES[index]) == published["cases"][index]


if __name__ == "__main__":
    fresh = {"version": usage.VERSION, "cases": [run_case(case) for case in CASES]}
    print(json.dumps(fresh, indent=1))
