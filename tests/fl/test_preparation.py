"""What this federation cannot have is refused by name, or left out with the reason."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

import fl.protection
import fl.protections.encrypted
import secagg
from fl.cli import BAD_INPUT, run
from fl.config import Config, load_config
from fl.errors import ConfigError, DataError
from fl.federation import federate
from fl.preparation import prepare
from fl.protection import UnavailableError, counter_for
from fl.protections import build
from fl.settings import USUAL
from tests.fl import tiny

CLIENT_LEVEL = set(USUAL) - {"none", "secagg", "he-bfv", "dp-sgd"}
ASKED = 'protections.names=["none", "central-dp"]'


def _config(*sets: str) -> Config:
    """The defaults: no protection is asked for by name."""
    return load_config(os.devnull, sets)


def _no_tenseal(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise secagg.ParameterError("TenSEAL is not installed; install it.")

    monkeypatch.setattr(fl.protections.encrypted, "require_tenseal", missing)


@pytest.fixture
def table(tmp_path: Path) -> str:
    rng = np.random.default_rng(0)
    rows = (f"{rng.uniform():.3f},{rng.uniform():.3f},{i % 2}" for i in range(90))
    (tmp_path / "t.csv").write_text("\n".join(["a,b,y", *rows]) + "\n")
    return str(tmp_path / "t.csv")


def test_of_the_defaults_those_are_left_out_that_cannot_be_had() -> None:
    ready = prepare(_config())
    assert {one.protection for one in ready.refused} == CLIENT_LEVEL
    assert [one.name for one in ready.protections] == [
        "none",
        "secagg",
        "he-bfv",
        "dp-sgd",
    ]
    for refusal in ready.refused:
        assert "hides one client among 10" in refusal.why
        assert "50" in refusal.why and "--allow-useless" in refusal.why


@pytest.mark.parametrize(("clients", "refused"), [(49, CLIENT_LEVEL), (50, set())])
def test_from_fifty_clients_on_client_level_privacy_is_offered(
    clients: int, refused: set[str]
) -> None:
    ready = prepare(_config(f"federation.clients={clients}"))
    assert {one.protection for one in ready.refused} == refused


def test_useless_noise_is_run_for_those_who_insist() -> None:
    ready = prepare(_config("privacy.allow_useless=true"))
    assert ready.refused == ()
    assert [one.name for one in ready.protections] == list(USUAL)


def test_what_was_asked_for_by_name_is_refused_loudly() -> None:
    with pytest.raises(ConfigError, match=r"^central-dp: .*drowns"):
        prepare(_config(ASKED))
    prepare(_config(ASKED, "privacy.allow_useless=true"))


def test_without_tenseal_only_encryption_is_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _no_tenseal(monkeypatch)
    ready = prepare(_config("privacy.allow_useless=true"))
    (refusal,) = ready.refused
    assert refusal.protection == "he-bfv"
    assert "TenSEAL is not installed" in refusal.why
    with pytest.raises(UnavailableError, match=r"^he-bfv: TenSEAL"):
        prepare(_config('protections.names=["he-bfv"]'))


def test_a_table_without_bounds_has_no_differential_privacy(table: str) -> None:
    sets = (f"data.source={table}", "data.label=y", "privacy.allow_useless=true")
    ready = prepare(_config(*sets))
    assert {one.protection for one in ready.refused} == {"dp-sgd", *CLIENT_LEVEL}
    assert all("columns a, b" in one.why for one in ready.refused)
    with pytest.raises(DataError, match=r"^dp-sgd: .*columns a, b"):
        prepare(_config(*sets, 'protections.names=["dp-sgd"]'))
    bounds = "data.bounds={a=[0, 1], b=[0, 1]}"
    assert prepare(_config(*sets, bounds)).refused == ()


def test_if_nothing_is_left_there_is_no_audit(
    table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(name: str, config: Config, clients: int) -> fl.protection.Protection:
        raise UnavailableError(f"no {name}.")

    monkeypatch.setattr("fl.preparation.build", none)
    with pytest.raises(
        ConfigError, match=r"no protection is left: no none\. no secagg"
    ):
        prepare(_config())


@pytest.mark.parametrize("flag", [[], ["--allow-useless"]])
def test_the_command_says_so_in_one_sentence(
    flag: list[str],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    ten = [f"--set=federation.{k}" for k in ("clients=10", "corrupt=1", "drop=1")]
    whole = "--set=federation.participation=1.0"
    status = run(["audit", "--dry-run", *ten, whole, f"--set={ASKED}", *flag])
    assert status == (0 if flag else BAD_INPUT)
    said = capsys.readouterr()
    if not flag:
        (line,) = said.err.strip().splitlines()
        assert line.startswith("blindsum: central-dp: client-level")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("noised", ["dp-sgd", "central-dp", "secagg+central-dp"])
def test_beside_any_noise_nothing_is_learnt_from_records_by_sums(noised: str) -> None:
    settings = tiny.config()
    names = ("none", "secagg", "he-bfv")
    exact = [build(name, settings, 5) for name in names]
    for one in exact:
        assert counter_for(one, exact) is one.counter is not None
    audited = [*exact, build(noised, settings, 5)]
    assert [counter_for(one, audited) for one in audited] == [None] * 4
    assert audited[-1].counter is None


def test_the_audited_table_is_scaled_by_its_bounds_alone(table: str) -> None:
    bounds = "data.bounds={a=[0, 1], b=[0, 4]}"
    settings = _config(f"data.source={table}", "data.label=y", bounds)
    ready = prepare(settings)
    assert "dp-sgd" in [one.name for one in ready.protections]
    counter = counter_for(ready.protections[0], ready.protections)
    learnt = federate(ready.raw, settings, counter, seed=0).learnt
    assert learnt is not None
    assert learnt.median.tolist() == [0.5, 2.0]
    assert learnt.sums == 0


@pytest.mark.parametrize(
    ("sets", "named"),
    [
        (("privacy.delta=0.009", "protections.names=['dp-sgd']"), "dp-sgd"),
        (("privacy.delta=0.009", "protections.names=['central-dp']"), "central-dp"),
    ],
)
def test_a_delta_that_lets_a_whole_unit_out_is_refused(
    sets: tuple[str, ...], named: str
) -> None:
    with pytest.raises(ConfigError, match=f"privacy.delta = 0.009 lets {named}"):
        prepare(load_config(None, [*sets, "federation.clients=150"]))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match="no CUDA device"):
        prepare(tiny.config("training.device='cuda'"))
