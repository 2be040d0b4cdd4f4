"""`python -m benchmarks private`, made small: Opacus computes what we compute."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks import nets, private
from benchmarks.peers import opacus_steps
from dp.sgd import DpSgd


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nets, "NAMES", ("mlp",))
    few = private.members()[:5]
    monkeypatch.setattr(private, "members", lambda: few)
    monkeypatch.setattr(private, "CLIENTS", 5)


def test_every_figure_is_printed_and_finite(
    capsys: pytest.CaptureFixture[str],
) -> None:
    figures = private.measure(quick=True)
    assert {"speedup_vs_opacus_mlp", "speedup_vs_ghost_mlp"} <= set(figures)
    assert all(np.isfinite(value) and value > 0 for value in figures.values())
    assert "opacus" in capsys.readouterr().out


@pytest.mark.parametrize("peer", ["opacus", "ghost"])
def test_a_peer_that_computes_something_else_is_noticed(
    monkeypatch: pytest.MonkeyPatch, peer: str
) -> None:
    real = private.PEERS[peer]

    def wrong(net: nn.Module, mechanism: DpSgd) -> opacus_steps.Step:
        other = DpSgd(
            sampling_rate=mechanism.sampling_rate,
            batch_size=mechanism.batch_size,
            clip_norm_l2=mechanism.clip_norm_l2 * 1.01,
            noise_multiplier=mechanism.noise_multiplier,
        )
        return real(net, other)

    made: dict[str, Callable[..., opacus_steps.Step]] = {peer: wrong}
    monkeypatch.setattr(private, "PEERS", made)
    with torch.random.fork_rng(devices=[]), pytest.raises(RuntimeError, match=peer):
        private.measure(quick=True)
