"""`blindsum secagg releases`: what it prints, and what it exits with."""

import re

import pytest

import secagg
from fl.cli import run
from secagg.invite import SERVER, Step
from secagg.monitor import Release
from secagg.store import Store

ALL = frozenset(f"site-{i}" for i in range(6))
MODEL, NEXT = (secagg.context(name) for name in (b"model", b"next model"))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "rounds.db"


def keep(path, *releases, owners=(SERVER,)):
    """Record releases, whatever they reveal together."""
    with Store(path) as store:
        for session, (context, cohort) in enumerate(releases):
            for owner in owners:
                store.record(owner, bytes([session]), Step.ADVERTISE_KEYS)
                store.release(owner, bytes([session]), Release(context, cohort), 1)


def test_a_store_without_sums_reveals_nothing(capsys, path):
    keep(path)
    assert run(["secagg", "releases", str(path)]) == 0
    assert capsys.readouterr().out == "no sum was released.\n"


def test_sums_that_two_parties_recorded_count_once(capsys, path):
    keep(path, (MODEL, ALL), (MODEL, ALL), owners=(SERVER, "site-1"))
    assert run(["secagg", "releases", str(path)]) == 0
    assert capsys.readouterr().out == (
        f"context {MODEL.hex()[:12]}: 2 sums over 1 cohort: no single client's input "
        "is determined.\n"
    )


def test_an_input_that_follows_is_named_and_the_status_is_3(capsys, path):
    keep(path, (MODEL, ALL), (MODEL, ALL - {"site-4"}), (NEXT, ALL))
    assert run(["secagg", "releases", str(path)]) == 3
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    (found,) = [line for line in lines if MODEL.hex()[:12] in line]
    assert found.endswith(
        "2 sums over 2 cohorts, smallest difference 1 client: the input of 1 client "
        "follows: site-4."
    )
    assert lines[-1].startswith("all contexts, if no vector changed: 3 sums")


def test_what_follows_only_if_vectors_stayed_is_said_and_no_failure(capsys, path):
    keep(path, (MODEL, ALL), (NEXT, ALL - {"site-4"}))
    assert run(["secagg", "releases", str(path)]) == 0
    assert "follows: site-4." in capsys.readouterr().out.splitlines()[-1]


def test_too_many_cohorts_over_all_contexts_are_said_to_be(capsys, path, monkeypatch):
    monkeypatch.setattr("fl.releases.MOST_TOGETHER", 1)
    keep(path, (MODEL, ALL), (NEXT, ALL - {"site-4"}))
    assert run(["secagg", "releases", str(path)]) == 0
    assert "more than 1 cohorts" in capsys.readouterr().out.splitlines()[-1]


def test_no_store_is_one_sentence_and_status_2_and_nothing_is_made(capsys, path):
    assert run(["secagg", "releases", str(path)]) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1 and "No such file" in said.err
    path.write_text("some notes")
    assert run(["secagg", "releases", str(path)]) == 2
    assert "not a database" in capsys.readouterr().err
    assert path.read_text() == "some notes"


def test_the_help_shows_an_example(capsys):
    assert run(["secagg", "releases", "--help"]) == 0
    out = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    assert "blindsum secagg releases site-3.db" in out and "status 3" in out
