"""Arrays from .npz files, user code and scikit-learn."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import numpy as np
import pytest

from fl.data import Dataset, RawTable, load
from fl.data.settings import DataConfig
from fl.errors import DataError

Y = np.array([0, 1, 2, 1, 0, 2])


def npz(folder: Path, **arrays: np.ndarray) -> DataConfig:
    np.savez(folder / "x.npz", **arrays)  # type: ignore[arg-type]
    return DataConfig(source="x.npz", folder=str(folder))


def images(*shape: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, shape, dtype=np.uint8)


def refusal(data: DataConfig) -> str:
    with pytest.raises(DataError) as caught:
        load(data, 0)
    return str(caught.value)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((6, 5, 4), (1, 5, 4)),
        ((6, 5, 4, 3), (3, 5, 4)),
        ((6, 5, 4, 1), (1, 5, 4)),
        ((6, 3, 5, 4), (3, 5, 4)),
        ((6, 1, 5, 4), (1, 5, 4)),
    ],
)
def test_bytes_become_channels_first_images_in_zero_to_one(
    tmp_path: Path, shape: tuple[int, ...], expected: tuple[int, ...]
) -> None:
    x = images(*shape)
    loaded = load(npz(tmp_path, x=x, y=Y), 0)
    assert isinstance(loaded, Dataset)
    assert loaded.input_shape == expected
    assert loaded.features.dtype == np.float32
    assert loaded.features.flags.c_contiguous
    last = len(shape) == 4 and shape[1] > 3
    plain = np.moveaxis(x, -1, 1) if last else x.reshape(6, *expected)
    assert np.allclose(loaded.features, plain / 255)
    assert (loaded.kind, loaded.value_range) == ("image", (0.0, 1.0))
    assert not loaded.builtin


@pytest.mark.parametrize(
    ("x_name", "y_name"), [("x", "y"), ("features", "labels"), ("x_train", "y_train")]
)
def test_each_pair_of_names_is_found(tmp_path: Path, x_name: str, y_name: str) -> None:
    loaded = load(npz(tmp_path, **{x_name: images(6, 4, 4), y_name: Y}), 0)
    assert loaded.labels.tolist() == Y.tolist()
    assert loaded.held_out is None


def test_x_test_is_the_held_out_set_and_limit_applies_to_both(tmp_path: Path) -> None:
    x, x_test = images(60, 4, 4), images(30, 4, 4)
    data = npz(
        tmp_path,
        x_train=x,
        y_train=np.arange(60) % 3,
        x_test=x_test,
        y_test=np.arange(30) % 3,
    )
    whole = load(data, 0)
    assert whole.held_out is not None
    assert whole.held_out.tolist() == list(range(60, 90))
    part = load(data.model_copy(update={"limit": 20}), 0)
    assert isinstance(part, Dataset)
    assert len(part) == 40
    assert part.held_out is not None
    assert part.held_out.tolist() == list(range(20, 40))
    tests = {row.tobytes() for row in (x_test[:, None] / 255).astype(np.float32)}
    assert all(row.tobytes() in tests for row in part.features[part.held_out])


def test_labels_are_numbered_from_zero(tmp_path: Path) -> None:
    loaded = load(npz(tmp_path, x=images(6, 4, 4), y=Y * 10 + 1), 0)
    assert loaded.labels.tolist() == Y.tolist()
    assert loaded.class_names == ("1", "11", "21")


def test_two_dimensions_are_a_table_and_keep_their_units(tmp_path: Path) -> None:
    x = np.array([[1.5, 200.0], [2.5, 300.0]], dtype=np.float32)
    loaded = load(npz(tmp_path, x=x, y=np.array([0, 1])), 0)
    assert isinstance(loaded, RawTable)
    assert loaded.values.dtype == np.float64
    assert np.array_equal(loaded.values, x)
    assert [column.name for column in loaded.columns] == ["x0", "x1"]


def test_nan_in_a_table_is_missing_only_with_imputation(tmp_path: Path) -> None:
    x = np.array([[1.0, np.nan], [2.0, 3.0]])
    data = npz(tmp_path, x=x, y=np.array([0, 1]))
    message = refusal(data)
    assert "row 0 of x, column x1" in message
    assert "indicator+median" in message
    filled = load(data.model_copy(update={"impute": "indicator+median"}), 0)
    assert isinstance(filled, RawTable)
    assert np.isnan(filled.values).sum() == 1


@pytest.mark.parametrize(
    ("arrays", "part"),
    [
        ({"a": Y}, "holds a; want x_train"),
        ({"x": images(6, 4, 4)}, "want x_train"),
        ({"x": images(5, 4, 4), "y": Y}, "one label for each of the 5 records"),
        ({"x": images(6, 4, 4), "y": Y[:, None]}, "flatten it to (6,)"),
        ({"x": images(6), "y": Y}, "has shape (6,)"),
        ({"x": images(6, 2, 2, 2, 2), "y": Y}, "want (records, columns)"),
        ({"x": images(0, 4, 4), "y": Y[:0]}, "is empty"),
        ({"x": images(6, 4, 4, 2), "y": Y}, "neither 1 nor 3 channels"),
        ({"x": images(6, 4, 4).astype(np.int64), "y": Y}, "give uint8 or floats"),
        ({"x": images(6, 4, 4) / 1.0, "y": Y}, "must be in [0, 1]"),
        ({"x": np.full((6, 4, 4), np.nan), "y": Y}, "must be in [0, 1]"),
        ({"x": images(6, 4, 4), "y": Y * 0}, "the same label"),
        ({"x": images(6, 4, 4), "y": Y * np.nan}, "a label is NaN"),
        ({"x": images(6, 4, 4), "y": Y * 1j}, "labels are of type"),
        ({"x": np.full((6, 2), np.inf), "y": Y}, "NaN or infinite"),
        ({"x": np.full((6, 2), 1e9), "y": Y}, "data.bounds"),
        ({"x": np.full((6, 2), "a"), "y": Y}, "give numbers"),
        ({"x": images(6, 4, 4), "y": Y, "x_test": images(6, 4, 4)}, "give both"),
        (
            {"x": images(6, 4, 4), "y": Y, "x_test": images(6, 5, 4), "y_test": Y},
            "the same shape",
        ),
        (
            {
                "x": images(6, 4, 4),
                "y": Y,
                "x_test": images(6, 4, 4) / 255,
                "y_test": Y,
            },
            "the same type",
        ),
        ({"x": images(6, 4, 4), "y": Y, "sites": Y[:3]}, "sites has shape (3,)"),
    ],
)
def test_unusable_arrays_are_refused_in_one_sentence(
    tmp_path: Path, arrays: dict[str, np.ndarray], part: str
) -> None:
    message = refusal(npz(tmp_path, **arrays))
    assert part in message
    assert "x.npz" in message
    assert message.endswith(".")


class Bomb:
    """Raises when it is unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return (exec, ("raise SystemError('unpickled')",))


def test_pickled_objects_are_never_loaded(tmp_path: Path) -> None:
    x = np.empty(6, dtype=object)
    x[:] = Bomb()
    assert "never loaded" in refusal(npz(tmp_path, x=x, y=Y))
    (tmp_path / "x.npz").write_bytes(pickle.dumps(Bomb()))
    data = DataConfig(source="x.npz", folder=str(tmp_path))
    assert "not a .npz archive" in refusal(data)


def test_damaged_and_bare_files_are_refused(tmp_path: Path) -> None:
    data = npz(tmp_path, x=images(6, 4, 4), y=Y)
    path = tmp_path / "x.npz"
    path.write_bytes(path.read_bytes()[:-200])
    assert "not a .npz archive" in refusal(data)
    with path.open("wb") as file:
        np.save(file, Y)
    assert "one bare array" in refusal(data)
    path.unlink()
    assert "no file" in refusal(data)


def test_sites_of_an_archive_are_kept(tmp_path: Path) -> None:
    sites = np.array(["b", "a", "b", "a", "a", "b"])
    loaded = load(npz(tmp_path, x=images(6, 4, 4), y=Y, sites=sites), 0)
    assert loaded.sites is not None
    assert loaded.site_names == ("a", "b")
    assert loaded.sites.tolist() == [1, 0, 1, 0, 0, 1]


USER = """
import numpy as np
x = np.arange(12.0).reshape(6, 2)
y = [0, 1, 0, 1, 0, 1]
def pair(): return x, y
def mapping(): return {"x": x, "y": y, "sites": [0, 0, 1, 1, 2, 2]}
def strings(): return x, ["a", "b"] * 3
def nothing(): return None
def triple(): return x, y, y
def extra(): return {"x": x, "y": y, "z": y}
def ragged(): return [[1], [1, 2]], [0, 1]
value = 3
"""


@pytest.fixture
def user_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_records.py").write_text(USER)
    (tmp_path / "broken_records.py").write_text("import absent_package\n")
    (tmp_path / "wrong_records.py").write_text("def f(:\n")
    (tmp_path / "numpy.py").write_text("raise SystemError('shadowed numpy')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("my_records", "broken_records", "wrong_records"):
        monkeypatch.delitem(sys.modules, name, raising=False)


@pytest.mark.usefixtures("user_code")
def test_user_functions_are_found_in_the_working_directory(tmp_path: Path) -> None:
    for name in ("pair", "mapping", "strings"):
        loaded = load(DataConfig(source=f"my_records:{name}"), 0)
        assert isinstance(loaded, RawTable)
        assert loaded.labels.tolist() == [0, 1, 0, 1, 0, 1]
    assert sys.path[-1] == str(tmp_path)
    sites = load(DataConfig(source="my_records:mapping"), 0).sites
    assert sites is not None
    assert sites.tolist() == [0, 0, 1, 1, 2, 2]


@pytest.mark.usefixtures("user_code")
@pytest.mark.parametrize(
    ("spec", "part"),
    [
        ("my_records:absent", 'no function or class "absent"'),
        ("my_records:value", 'no function or class "value"'),
        ("absent_records:f", 'no module named "absent_records"'),
        ("broken_records:f", 'no module named "absent_package"'),
        ("wrong_records:f", "cannot be imported"),
        ("my_records:nothing", "returned a NoneType"),
        ("my_records:triple", "returned a tuple of 3"),
        ("my_records:extra", "returned a dict of x, y, z"),
        ("my_records:ragged", "x is no array"),
    ],
)
def test_user_functions_that_fail_are_named(spec: str, part: str) -> None:
    message = refusal(DataConfig(source=spec))
    assert spec in message
    assert part in message


@pytest.mark.parametrize(
    ("name", "records", "classes"),
    [("digits", 1797, 10), ("breast_cancer", 569, 2), ("wine", 178, 3)],
)
def test_built_in_sets_are_complete(name: str, records: int, classes: int) -> None:
    loaded = load(DataConfig(source=name), 0)
    assert (len(loaded), loaded.classes) == (records, classes)
    assert loaded.builtin
    if isinstance(loaded, Dataset):
        assert loaded.input_shape == (1, 8, 8)
        assert (loaded.features.min(), loaded.features.max()) == (-1.0, 1.0)


@pytest.mark.parametrize("name", ["digits", "wine"])
def test_take_keeps_records_and_labels_together(name: str) -> None:
    whole = load(DataConfig(source=name), 0)
    rows = np.array([7, 3, 100])
    part = whole.take(rows)
    assert part.labels.tolist() == whole.labels[rows].tolist()
    assert part.classes == whole.classes
    if isinstance(part, Dataset) and isinstance(whole, Dataset):
        assert np.array_equal(part.features, whole.features[rows])
