"""The table of mutants fits the code: each entry applies once and gives Python."""

from collections import Counter

import pytest

from tests.mutation.mutant import Bug, Mutant, StaleError, mutant
from tests.mutation.table import MUTANTS
from tests.mutation.workshop import ROOT, Fate, judge

MOST_EQUIVALENT = 0.03


@pytest.fixture(scope="module")
def sources():
    files = {file for one in MUTANTS for file in one.files}
    return {file: (ROOT / "secagg" / file).read_text() for file in files}


def test_every_entry_applies_exactly_once_and_gives_python(sources):
    stale = []
    for one in MUTANTS:
        try:
            one.applied(sources)
        except StaleError as error:
            stale.append(str(error))
    assert not stale, "\n".join(stale)


def test_the_table_is_large_and_covers_every_kind_of_bug():
    assert len(MUTANTS) >= 120
    assert {one.bug for one in MUTANTS} == set(Bug)
    assert Counter(one.name for one in MUTANTS).most_common(1)[0][1] == 1


def test_every_entry_names_tests_that_exist():
    for one in MUTANTS:
        assert one.tests and one.consequence, one.name
        for test in one.tests:
            file, _, function = test.partition("::")
            text = (ROOT / "tests" / "secagg" / file).read_text()
            assert f"def {function}" in text, (one.name, test)


def test_few_mutants_are_called_equivalent():
    called = [one for one in MUTANTS if one.equivalent]
    assert len(called) <= MOST_EQUIVALENT * len(MUTANTS)


def planted(*edits: tuple[str, str, str]) -> Mutant:
    return mutant("planted", Bug.CHECK, edits, "states", "none")


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (("a.py", "z", "y"), "0 times"),
        (("a.py", "x", "y"), "2 times"),
        (("a.py", "x = 1", "x = 1"), "1 times"),
        (("a.py", "x = 1", "x ="), "no Python"),
    ],
)
def test_an_entry_that_does_not_fit_is_stale(edit, message):
    with pytest.raises(StaleError, match=message):
        planted(edit).applied({"a.py": "x = 1\nx.y\n"})


def test_edits_are_applied_one_after_the_other():
    both = planted(("a.py", "a = 1", "a = 2"), ("b.py", "b = a", "b = -a"))
    assert both.applied({"a.py": "a = 1\n", "b.py": "b = a\n"}) == {
        "a.py": "a = 2\n",
        "b.py": "b = -a\n",
    }


@pytest.mark.parametrize(
    ("status", "output", "fate"),
    [
        (0, "5 passed", Fate.SURVIVED),
        (1, "FAILED tests/secagg/test_a.py::test_x[1-2] - AssertionError", Fate.KILLED),
        (2, "ERROR tests/secagg/test_a.py - NameError: y", Fate.KILLED),
        (None, "", Fate.TIMED_OUT),
        (4, "ERROR: file or directory not found: x", Fate.INVALID),
        (5, "no tests ran", Fate.INVALID),
        (1, "", Fate.INVALID),
        (-9, "", Fate.INVALID),
    ],
)
def test_only_a_failed_test_kills(status, output, fate):
    assert judge(planted(("a.py", "x", "y")), status, output)[0] is fate
