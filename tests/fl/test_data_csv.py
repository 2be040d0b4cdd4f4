"""CSV files: what is read, and one good sentence for everything that is not."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from fl.config import load_config
from fl.data import RawTable, load
from fl.data.settings import DataConfig
from fl.errors import DataError

GOOD = "age, sex ,y\n30,1,0\n 40 ,0,1\n50,1,1\n"


def config(folder: Path, **keys: object) -> DataConfig:
    given = {"source": "t.csv", "folder": str(folder), "label": "y"} | keys
    if "sites" in keys:
        del given["source"]
    return DataConfig.model_validate(given)


def table(folder: Path, text: str, **keys: object) -> RawTable:
    (folder / "t.csv").write_text(text, encoding="utf-8")
    loaded = load(config(folder, **keys), 0)
    assert isinstance(loaded, RawTable)
    return loaded


def refusal(folder: Path, text: str, **keys: object) -> str:
    with pytest.raises(DataError) as caught:
        table(folder, text, **keys)
    return str(caught.value)


def test_header_and_cells_are_stripped(tmp_path: Path) -> None:
    read = table(tmp_path, GOOD)
    assert [column.name for column in read.columns] == ["age", "sex"]
    assert np.array_equal(read.values, [[30, 1], [40, 0], [50, 1]])
    assert read.labels.tolist() == [0, 1, 1]
    assert not read.builtin


def test_provenance_names_the_file_and_its_digest(tmp_path: Path) -> None:
    digest = hashlib.sha256(GOOD.encode()).hexdigest()[:16]
    assert table(tmp_path, GOOD).provenance == f"t.csv (sha256 {digest})"


@pytest.mark.parametrize(
    "text",
    [
        "\ufeff" + GOOD,
        GOOD.replace("\n", "\r\n"),
        GOOD + "\n\n",
        '"age","sex","y"\n30,1,0\n"40",0,1\n50,1,1',
    ],
)
def test_usual_dialects_read_the_same(tmp_path: Path, text: str) -> None:
    assert np.array_equal(table(tmp_path, text).values, [[30, 1], [40, 0], [50, 1]])


def test_declared_missing_cells_become_nan(tmp_path: Path) -> None:
    text = "a,b,y\n?,1,0\n3,,1\n-9.0,0.0,1\n"
    read = table(
        tmp_path,
        text,
        missing=["?", "", -9],
        missing_in={"b": ["0"]},
        impute="indicator+median",
    )
    assert np.isnan(read.values).tolist() == [
        [True, False],
        [False, True],
        [True, True],
    ]


def test_a_zero_is_missing_only_where_it_is_declared(tmp_path: Path) -> None:
    read = table(
        tmp_path,
        "chol,oldpeak,y\n0,0,0\n200,0,1\n",
        missing_in={"chol": ["0"]},
        impute="indicator+median",
    )
    assert np.isnan(read.values).tolist() == [[True, False], [False, False]]


def test_categories_match_as_text_or_as_numbers(tmp_path: Path) -> None:
    read = table(
        tmp_path,
        "cp,color,y\n1.0,red,0\n4,blue,1\n",
        categories={"cp": [1, 4], "color": ["red", "blue"]},
    )
    assert read.values.tolist() == [[0, 0], [1, 1]]
    assert read.columns[0].levels == ("1", "4")


@pytest.mark.parametrize(
    ("positive", "labels"),
    [
        ("> 0", [0, 1, 1, 1]),
        (">= 2", [0, 0, 1, 1]),
        ("< 2", [1, 1, 0, 0]),
        ("<= 0", [1, 0, 0, 0]),
        ("== 1", [0, 1, 0, 0]),
        ("!= 0", [0, 1, 1, 1]),
        ("3", [0, 0, 0, 1]),
    ],
)
def test_positive_turns_labels_into_two_classes(
    tmp_path: Path, positive: str, labels: list[int]
) -> None:
    read = table(tmp_path, "a,y\n1,0\n1,1.0\n1,2\n1,3\n", positive=positive)
    assert read.labels.tolist() == labels
    assert read.classes == 2


def test_positive_compares_words(tmp_path: Path) -> None:
    read = table(tmp_path, "a,y\n1,yes\n1,no\n", positive="yes")
    assert read.labels.tolist() == [1, 0]
    assert read.class_names == ("not yes", "yes")


def test_labels_are_numbered_as_numbers_where_all_are(tmp_path: Path) -> None:
    read = table(tmp_path, "a,y\n1,10\n1,9\n1,10\n")
    assert (read.labels.tolist(), read.class_names) == ([1, 0, 1], ("9", "10"))
    words = table(tmp_path, "a,y\n1,b\n1,a\n")
    assert (words.labels.tolist(), words.class_names) == ([1, 0], ("a", "b"))


def test_dropped_columns_may_hold_anything(tmp_path: Path) -> None:
    read = table(tmp_path, "id,a,y\nx!,1,0\n,2,1\n", drop=["id"])
    assert [column.name for column in read.columns] == ["a"]


def test_a_subgroup_column_stays_a_feature_unless_it_is_dropped(tmp_path: Path) -> None:
    text = "a,g,y\n1,2,0\n2,1,1\n3,?,1\n4,1.0,1\n"
    read = table(
        tmp_path,
        text,
        subgroup="g",
        missing_in={"g": ["?"]},
        impute="indicator+median",
    )
    assert read.subgroups is not None
    assert read.subgroups.tolist() == [1, 0, -1, 0]
    assert read.subgroup_names == ("1", "2")
    assert [column.name for column in read.columns] == ["a", "g"]
    words = "a,g,y\n1,m,0\n2,f,1\n"
    read = table(tmp_path, words, subgroup="g", drop=["g"])
    assert read.subgroup_names == ("f", "m")
    assert [column.name for column in read.columns] == ["a"]
    taken = read.take(np.array([1]))
    assert taken.subgroups is not None and taken.subgroups.tolist() == [0]
    assert table(tmp_path, words, drop=["g"]).subgroups is None


@pytest.mark.parametrize("values", [["7"] * 30, [str(i) for i in range(30)]])
def test_a_column_that_divides_nobody_or_everybody_is_no_subgroup(
    tmp_path: Path, values: list[str]
) -> None:
    text = "a,g,y\n" + "".join(f"{i},{v},{i % 2}\n" for i, v in enumerate(values))
    said = refusal(tmp_path, text, subgroup="g")
    assert "data.subgroup" in said and "2 to 20 subgroups" in said


def test_site_column_gives_each_record_its_site(tmp_path: Path) -> None:
    read = table(tmp_path, "a,w,y\n1,north,0\n2,south,1\n3,north,1\n", site_column="w")
    assert read.site_names == ("north", "south")
    assert read.sites is not None
    assert read.sites.tolist() == [0, 1, 0]


def test_sites_join_files_whatever_their_column_order(tmp_path: Path) -> None:
    (tmp_path / "n.csv").write_text("a,b,y\n1,2,0\n")
    (tmp_path / "s.csv").write_text("y,b,a\n1,4,3\n1,6,5\n")
    read = load(config(tmp_path, sites={"north": "n.csv", "south": "s.csv"}), 0)
    assert isinstance(read, RawTable)
    assert read.values.tolist() == [[1, 2], [3, 4], [5, 6]]
    assert read.sites is not None
    assert read.sites.tolist() == [0, 1, 1]
    assert read.site_names == ("north", "south")


@pytest.mark.parametrize("cell", ["", "nan", "NaN", "inf", "-inf", "abc", "1_0"])
def test_an_undeclared_cell_names_file_line_and_column_but_not_itself(
    tmp_path: Path, cell: str
) -> None:
    text = f"age,secret,y\n1,2,0\n3,{cell},1\n"
    message = refusal(tmp_path, text, missing=["?"])
    assert "t.csv, line 3, column secret" in message
    assert "data.missing" in message
    assert cell == "" or cell not in message.replace("data.", "")


def test_a_declared_missing_cell_without_imputation_names_the_cure(
    tmp_path: Path,
) -> None:
    message = refusal(tmp_path, "a,y\n1,0\n,1\n")
    assert "t.csv, line 3, column a" in message
    assert 'data.impute = "indicator+median"' in message


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", ["t.csv has no records"]),
        ("a,y\n", ["t.csv has no records"]),
        ("a,a,y\n1,2,0\n", ["line 1", "columns 1 and 2 have the same name"]),
        ("a,,y\n1,2,0\n", ["line 1", "column 2 has no name"]),
        ("1,2,3\n1,2,0\n", ["line 1", "must name the columns"]),
        ("a,b,y\n1,2,0\n1,2\n", ["line 3", "2 cells where the header has 3"]),
        ("a,b,y\n1,2,0\n1,2,3,4\n", ["line 3", "4 cells"]),
        ("a,Y\n1,0\n", ["no column y", "data.label"]),
        ("y\n0\n1\n", ["no column is left"]),
        ("a,y\n1,0\n2,0\n", ["all records have the same label"]),
        ("a,y\n1,0\n2,\n", ["line 3, column y", "label is missing"]),
        ('a,y\n1,0\n"2,1\n', ["t.csv, line 3", "not comma-separated"]),
        ("a,y\n2e6,0\n1,1\n", ["line 2, column a", "data.bounds"]),
    ],
)
def test_unusable_files_are_refused_in_one_sentence(
    tmp_path: Path, text: str, parts: list[str]
) -> None:
    message = refusal(tmp_path, text)
    for part in parts:
        assert part in message
    assert message.count("\n") == 0
    assert message.endswith(".")


@pytest.mark.parametrize(
    ("keys", "part"),
    [
        ({"drop": ["ag"]}, "did you mean age?"),
        ({"bounds": {"zzz": [0, 1]}}, "no column zzz, which data.bounds names"),
        ({"categories": {"zzz": [0, 1]}}, "data.categories"),
        ({"missing_in": {"zzz": ["0"]}}, "data.missing_in"),
        ({"site_column": "zzz"}, "data.site_column"),
        ({"subgroup": "zzz"}, "data.subgroup"),
        ({"bounds": {"age": [0, 45]}}, "line 4, column age"),
        ({"categories": {"sex": ["m", "f"]}}, "line 2, column sex"),
        ({"positive": "> 5"}, "holds for no record"),
        ({"positive": ">= 0"}, "holds for every record"),
        ({"source": "absent.csv"}, "data.folder"),
    ],
)
def test_settings_that_do_not_fit_the_file_are_refused(
    tmp_path: Path, keys: dict[str, object], part: str
) -> None:
    assert part in refusal(tmp_path, GOOD, **keys)


def test_an_ordering_of_words_is_refused_at_its_line(tmp_path: Path) -> None:
    message = refusal(tmp_path, "a,y\n1,1\n1,many\n", positive="> 0")
    assert "line 3, column y" in message
    assert "many" not in message


def test_a_quantity_is_no_label(tmp_path: Path) -> None:
    rows = "".join(f"1,{i}.5\n" for i in range(40))
    assert "look like a quantity" in refusal(tmp_path, "a,y\n" + rows)


def test_sites_with_different_columns_are_refused(tmp_path: Path) -> None:
    (tmp_path / "n.csv").write_text("a,b,y\n1,2,0\n")
    (tmp_path / "s.csv").write_text("a,y\n1,1\n")
    data = config(tmp_path, sites={"north": "n.csv", "south": "s.csv"})
    with pytest.raises(DataError, match=r"s\.csv has no column b"):
        load(data, 0)


def test_text_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"a,y\n\xff,0\n")
    with pytest.raises(DataError, match="UTF-8"):
        load(config(tmp_path), 0)


def test_limit_draws_by_the_seed_and_keeps_the_order(tmp_path: Path) -> None:
    rows = "".join(f"{i},{i % 2}\n" for i in range(100))
    first = table(tmp_path, "a,y\n" + rows, limit=20)
    again = table(tmp_path, "a,y\n" + rows, limit=20)
    other = load(config(tmp_path, limit=20), 1)
    assert isinstance(other, RawTable)
    assert len(first) == 20
    assert np.array_equal(first.values, again.values)
    assert not np.array_equal(first.values, other.values)
    assert (np.diff(first.values[:, 0]) > 0).all()


def test_example_reads_the_four_hospitals() -> None:
    folder = os.environ.get("BLINDSUM_DATA")
    if not folder:
        pytest.skip("BLINDSUM_DATA is not set")
    path = Path(__file__).parents[2] / "examples" / "hospitals.toml"
    read = load(load_config(path, [f"data.folder={folder}"]).data, 0)
    assert isinstance(read, RawTable)
    assert len(read) == 920
    assert np.bincount(read.sites).tolist() == [303, 294, 123, 200]  # type: ignore[arg-type]
    assert read.labels.tolist().count(1) == 509
    chol = [column.name for column in read.columns].index("chol")
    assert np.isnan(read.values[read.sites == 2, chol]).all()
