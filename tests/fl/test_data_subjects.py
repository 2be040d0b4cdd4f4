"""Whose a record is: read from every kind of data, never a feature, never shown."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from fl.data import RawTable, load
from fl.data.settings import DataConfig
from fl.data.subjects import numbered
from fl.errors import DataError

ROWS = "who,a,y\nanna,1,0\nbob,2,1\n anna ,3,1\n7,4,0\n7.0,5,1\n07,6,0\n"


def csv(folder: Path, text: str = ROWS, **keys: object) -> DataConfig:
    (folder / "t.csv").write_text(text)
    given = {"source": "t.csv", "folder": str(folder), "label": "y", "subject": "who"}
    return DataConfig.model_validate(given | keys)


def npz(folder: Path, **arrays: object) -> DataConfig:
    np.savez(folder / "t.npz", **{k: np.asarray(v) for k, v in arrays.items()})  # type: ignore[arg-type]
    return DataConfig(source="t.npz", folder=str(folder), subject="who")


def refusal(data: DataConfig) -> str:
    with pytest.raises(DataError) as caught:
        load(data, 0)
    return str(caught.value)


def test_a_column_says_whose_a_record_is_and_is_no_feature(tmp_path: Path) -> None:
    read = load(csv(tmp_path), 0)
    assert isinstance(read, RawTable)
    assert [one.name for one in read.columns] == ["a"]
    assert read.subjects is not None
    # Equal text and equal numbers are one person.
    assert read.subjects.tolist() == [0, 1, 0, 2, 2, 2]
    assert read.take(np.array([4, 1])).subjects.tolist() == [2, 1]  # type: ignore[union-attr]
    assert "anna" not in repr(read)


def test_a_person_at_two_sites_is_one_person(tmp_path: Path) -> None:
    (tmp_path / "n.csv").write_text("who,a,y\nanna,1,0\nbob,2,1\n")
    (tmp_path / "s.csv").write_text("who,a,y\ncarl,1,0\nanna,2,1\n")
    data = DataConfig(
        folder=str(tmp_path),
        label="y",
        subject="who",
        sites={"north": "n.csv", "south": "s.csv"},
    )
    assert load(data, 0).subjects.tolist() == [0, 1, 2, 0]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("text", "part"),
    [
        (ROWS.replace("bob", " "), "line 3, column who: the cell is missing"),
        (ROWS.replace("who", "whose"), "did you mean whose?"),
    ],
)
def test_a_record_of_nobody_is_refused(tmp_path: Path, text: str, part: str) -> None:
    message = refusal(csv(tmp_path, text))
    assert part in message and "anna" not in message


X, Y = np.arange(12.0).reshape(6, 2), [0, 1, 0, 1, 0, 1]
FOUR = {"x_train": X[:4], "y_train": Y[:4], "x_test": X[4:], "y_test": Y[4:]}


def test_an_array_says_whose_a_record_is(tmp_path: Path) -> None:
    data = npz(tmp_path, x=X, y=Y, who=["b", "a", "b", "c", "c", "b"])
    assert load(data, 0).subjects.tolist() == [0, 1, 0, 2, 2, 0]  # type: ignore[union-attr]
    data = npz(tmp_path, **FOUR, who=[5, 5, 6, 7], who_test=[8, 8])
    assert load(data, 0).subjects.tolist() == [0, 0, 1, 2, 3, 3]  # type: ignore[union-attr]
    images = npz(tmp_path, x=np.zeros((6, 4, 4)), y=Y, who=[1, 1, 1, 2, 2, 2])
    assert load(images, 0).subjects.tolist() == [0, 0, 0, 1, 1, 1]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("arrays", "part"),
    [
        ({"x": X, "y": Y}, "who, which data.subject names, is absent"),
        ({"x": X, "y": Y, "who": [1, 2]}, "for each of 6 records"),
        ({"x": X, "y": Y, "who": [1.5] * 6}, "float64"),
        ({**FOUR, "who": [1, 1, 2, 2]}, "who_test, which data.subject names, is abs"),
        ({**FOUR, "who": [1, 1, 2, 2], "who_test": ["02", "3"]}, "somebody is in both"),
    ],
)
def test_arrays_that_leave_it_open_are_refused(
    tmp_path: Path, arrays: dict[str, object], part: str
) -> None:
    assert part in refusal(npz(tmp_path, **arrays))


def test_a_function_says_whose_a_record_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "people_of_mine.py").write_text(
        "def give(): return {'x': [[0., 1.]] * 4, 'y': [0, 1] * 2, 'who': list('abba')}"
    )
    source = "people_of_mine:give"
    found = load(DataConfig(source=source, subject="who"), 0)
    assert found.subjects.tolist() == [0, 1, 1, 0]  # type: ignore[union-attr]
    assert "a dict of x, y, who" in refusal(DataConfig(source=source))


@pytest.mark.parametrize(
    ("keys", "part"),
    [
        ({"source": "wine", "subject": "who"}, "built-in"),
        ({"subject": "who"}, "built-in"),
        ({"source": "t.csv", "label": "y", "subject": "y"}, "is the label"),
        (
            {"source": "t.csv", "label": "y", "subject": "w", "site_column": "w"},
            "the site of records",
        ),
        ({"source": "t.npz", "subject": "sites"}, "says something else"),
        ({"source": "t.npz", "subject": "y_train"}, "says something else"),
    ],
)
def test_a_subject_that_cannot_be_one_is_refused(
    keys: dict[str, object], part: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(part)):
        DataConfig.model_validate(keys)


def test_two_persons_may_be_taken_for_one_but_one_never_for_two() -> None:
    big = ["12345678901234567890", "12345678901234567891", "1e1", "10", "ten", "Ten"]
    assert numbered(big).tolist() == [0, 1, 2, 2, 3, 4]
