"""`python -m benchmarks mask`: every figure is there, and wrong sums are noticed."""

from __future__ import annotations

import math

import pytest

from benchmarks import cipher_limit, mask, masked_round
from benchmarks.__main__ import as_json
from benchmarks.peers import flower_masks
from benchmarks.peers.asking import MissingError

NAMED = {
    "fraction_of_cipher_limit",
    "upload_bytes_per_param",
    "speedup_vs_flower_mask",
    "speedup_vs_flower_client_step",
    "speedup_vs_flower_client_step_2_cores",
    "cipher_gain_2_cores",
    "mask_gain_2_cores",
}


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mask, "QUICK_PARAMETERS", 3000)
    monkeypatch.setattr(mask, "SMALL_WORDS", 100)
    monkeypatch.setattr(mask, "RAW_BYTES", 1 << 22)
    monkeypatch.setattr(cipher_limit, "BLOCKS", (1 << 14, 1 << 17))
    monkeypatch.setattr(masked_round, "CLIENTS", 9)


def test_the_quick_run_has_every_figure(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("flwr")
    figures = mask.measure(True, mask.PEERS)
    assert figures.keys() >= NAMED
    assert all(math.isfinite(value) and value > 0 for value in figures.values())
    assert figures["upload_bytes_per_param"] <= 3.3
    assert figures["flower_upload_bytes_per_param"] >= 8
    assert '"mask"' in as_json("mask", figures)
    assert "flower step" in capsys.readouterr().out


def test_a_missing_peer_is_said_to_be_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing() -> None:
        raise MissingError("not installed")

    monkeypatch.setattr(flower_masks, "check", missing)
    assert not any("flower" in name for name in mask.measure(True, mask.PEERS))
    assert "flower: no figure: not installed." in capsys.readouterr().out


def test_a_wrong_stream_stops_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(total: object, keys: object, **_: object) -> None:
        """Add no stream."""

    monkeypatch.setattr(mask, "add_streams", nothing)
    with pytest.raises(RuntimeError, match="AES-256-CTR"):
        mask.measure(True, ())


def test_a_wrong_upload_of_the_peer_stops_the_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("flwr")
    monkeypatch.setattr(flower_masks, "unmasked", lambda sent, keys: 1.0)
    with pytest.raises(RuntimeError, match="is off by"):
        mask.measure(True, mask.PEERS)


def test_a_wrong_mean_stops_the_run() -> None:
    ready = masked_round.Ready(50, "chacha20")
    ready.prepare()
    ready.offer()
    name = next(iter(ready._vectors))
    ready._vectors[name] = ready._vectors[name] + 1
    with pytest.raises(RuntimeError, match="the mean is off"):
        ready.finish()
