"""Attacks on large models are made smaller by estimate, and never in silence."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from attacks import CosineTV, LinearInversion
from fl import workload as sizes
from fl.audit import describe
from fl.config import Config
from fl.coverage import not_covered
from fl.evidence import Evidence
from fl.finding import Missing
from fl.folder import RunFolder
from fl.gather import INVERSION, MEMBERSHIP, gather
from fl.outcomes import collect
from fl.progress import Silent
from fl.shots import WORST_CASE
from fl.stages import Setting
from fl.stages.rounds import shared_out
from fl.stages.setting import effort, matched_every
from fl.verdict import decide
from fl.workload import Workload
from tests.fl import tiny


def _sized(settings: Config, *, times: int = 1) -> Workload:
    found = sizes.workload(tiny.federation(settings), settings)
    return replace(
        found, parameters=times * found.parameters, products=times * found.products
    )


def test_a_small_model_is_attacked_whole() -> None:
    settings = tiny.config()
    work = _sized(settings)
    protections = [tiny.protection(name, settings) for name in ("none", "secagg")]
    assert list(work.said(protections)) == []
    for one in protections:
        played = work.worst_case(one)
        assert played.victims == effort(settings)[0]
        assert played.batches == settings.attacks.batches


def test_victims_go_first_and_the_smallest_batch_stays() -> None:
    settings = tiny.config("attacks.batches=[16, 1, 4]")
    one = tiny.protection("none", settings)
    before = (effort(settings)[0], 3)
    for times in (10**5, 10**6, 10**7, 10**8, 10**9):
        played = _sized(settings, times=times).worst_case(one)
        now = (played.victims, len(played.batches))
        assert now <= before
        assert played.batches[0] == 1 or not played.why
        assert now[1] == 3 or now[0] == sizes.VICTIMS_MIN
        before = now
    assert before == (sizes.VICTIMS_MIN, 1)
    assert "raise attacks.core_seconds" in played.why


def test_few_victims_are_all_searched_so_that_there_is_an_interval() -> None:
    for victims in (2, 3, 4, 16):
        assert -(-victims // matched_every(victims)) >= 2


def test_encrypted_rounds_are_fewer_than_plain_ones() -> None:
    settings = tiny.config("attacks.victims=64")
    plain, sealed = (tiny.protection(name, settings) for name in ("none", "he-bfv"))
    work = _sized(settings, times=10**5)
    assert work.worst_case(sealed).victims < work.worst_case(plain).victims


def test_raising_the_limit_measures_everything() -> None:
    settings = tiny.config("attacks.core_seconds=1e12")
    one = tiny.protection("none", settings)
    assert list(_sized(settings, times=10**9).said([one])) == []


def test_products_count_each_position_of_a_convolution() -> None:
    net = nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(3 * 16, 5)
    )
    assert sizes._products(net, (2, 4, 4)) == 16 * 3 * 2 * 9 + 48 * 5
    assert sizes._products(nn.Linear(7, 5), (7,)) == 35


def test_pieces_of_a_large_model_hold_few_rounds() -> None:
    assert [len(some) for some in shared_out(16, 5_000)] == [8, 8]
    assert [len(some) for some in shared_out(3, 2**30)] == [1, 1, 1]
    for size in (1, 2**22, 2**24):
        covered = [trial for some in shared_out(11, size) for trial in some]
        assert covered == list(range(11))


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> tuple[Evidence, Config]:
    settings = tiny.config("attacks.core_seconds=1e-6", "repeats=1")
    folder = tmp_path_factory.mktemp("run")
    setting = Setting(
        raw=tiny.dataset(),
        protections=(tiny.protection("none", settings),),
        config=settings,
        folder=RunFolder(draft=folder, place=folder),
        progress=Silent(),
    )
    return gather(setting, families=(INVERSION, MEMBERSHIP)), settings


def test_what_is_left_out_stands_on_the_page_and_exact_attacks_still_run(
    limited: tuple[Evidence, Config],
) -> None:
    evidence, settings = limited
    found = evidence.findings([tiny.protection("none", settings)])
    attacks = {(one.attack, one.scenario) for one in collect(evidence.outcomes)}
    assert (LinearInversion.name, WORST_CASE) in attacks
    assert not any(name == CosineTV.name for name, _ in attacks)
    absent = [one for one in found if one.attack in (CosineTV.name, "DLG", "LiRA")]
    assert absent
    for one in absent:
        (measure,) = one.measures
        assert isinstance(measure, Missing)
    whys = [row.why for row in decide(absent, seed=0)]
    assert sum("raise attacks.core_seconds" in (why or "") for why in whys) >= 5
    (limit,) = evidence.limits
    assert f"{limit[0].upper()}{limit[1:]}" in not_covered(evidence, settings)
    said = "\n".join(describe(settings))
    assert f"left out: {limit.split(':')[0]}" in said


def test_outcomes_keep_no_gradient(limited: tuple[Evidence, Config]) -> None:
    for outcome in limited[0].outcomes:
        seen = outcome.shot.observation
        assert seen.gradient is None
        assert not list(seen.model.parameters())
        assert isinstance(outcome.shot.x, torch.Tensor)
