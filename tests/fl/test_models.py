"""Models: the same for the same seed, all parameters, and their flat vector."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from fl.errors import ModelError
from fl.models import build, load_vector, named_like, parameter_count, to_vector
from fl.settings import ModelConfig


@pytest.mark.parametrize(
    ("kind", "shape", "classes", "parameters"),
    [
        ("logreg", (1, 8, 8), 10, 650),
        ("logreg", (30,), 2, 62),
        ("mlp", (1, 8, 8), 10, 64 * 64 + 64 + 640 + 10),
        ("mlp", (30,), 2, 30 * 64 + 64 + 128 + 2),
        ("cnn", (1, 8, 8), 10, 80 + 1168 + 16 * 4 * 10 + 10),
        ("cnn", (3, 32, 32), 10, 224 + 1168 + 16 * 64 * 10 + 10),
        ("cnn", (1, 5, 7), 3, 80 + 1168 + 16 * 3 + 3),
    ],
)
def test_models_have_the_size_and_output_that_they_should(
    kind: str, shape: tuple[int, ...], classes: int, parameters: int
) -> None:
    net = build(ModelConfig(kind=kind), shape, classes, 0)
    assert parameter_count(net) == len(to_vector(net)) == parameters
    assert net(torch.zeros(4, *shape)).shape == (4, classes)


@pytest.mark.parametrize("kind", ["logreg", "mlp", "cnn"])
def test_equal_seeds_build_equal_models(kind: str) -> None:
    config = ModelConfig(kind=kind)
    first, again = (to_vector(build(config, (1, 8, 8), 10, 5)) for _ in range(2))
    other = to_vector(build(config, (1, 8, 8), 10, 6))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_building_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    build(ModelConfig(), (1, 8, 8), 10, 99)
    assert torch.equal(torch.rand(3), expected)


def test_hidden_widths_are_followed() -> None:
    net = build(ModelConfig(hidden=(5, 7)), (4,), 3, 0)
    shapes = [tuple(p.shape) for p in net.parameters()]
    assert shapes == [(5, 4), (5,), (7, 5), (7,), (3, 7), (3,)]


def test_vector_goes_out_and_comes_back() -> None:
    source = build(ModelConfig(kind="cnn"), (1, 8, 8), 10, 0)
    target = build(ModelConfig(kind="cnn"), (1, 8, 8), 10, 1)
    vector = to_vector(source)
    load_vector(target, vector)
    assert np.array_equal(to_vector(target), vector)
    named = named_like(source, vector)
    for name, parameter in source.named_parameters():
        assert torch.equal(named[name], parameter)


def test_vectors_are_copies() -> None:
    net = build(ModelConfig(kind="logreg"), (4,), 2, 0)
    vector = to_vector(net)
    before = vector.copy()
    load_vector(net, vector)
    named_like(net, vector)["1.weight"].zero_()
    vector[:] = 7
    assert np.array_equal(to_vector(net), before)


@pytest.mark.parametrize("length", [0, 9, 11])
def test_a_vector_of_another_length_is_refused_and_changes_nothing(length: int) -> None:
    net = build(ModelConfig(kind="logreg"), (4,), 2, 0)
    before = to_vector(net)
    with pytest.raises(ValueError, match=r"want \(10,\)"):
        load_vector(net, np.zeros(length, dtype=np.float32))
    assert np.array_equal(to_vector(net), before)


@pytest.mark.parametrize("shape", [(30,), (1, 3, 8)])
def test_cnn_wants_images(shape: tuple[int, ...]) -> None:
    with pytest.raises(ModelError, match="choose mlp or logreg"):
        build(ModelConfig(kind="cnn"), shape, 2, 0)


USER = """
import torch
from torch import nn
class Fits(nn.Sequential):
    def __init__(self, shape, classes):
        super().__init__(nn.Linear(shape[0], classes))
class Fixed(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Linear(4, 3))
class Normed(nn.Sequential):
    def __init__(self, shape, classes):
        super().__init__(nn.Linear(4, 3), nn.BatchNorm1d(3))
class Quiet(nn.Sequential):
    def __init__(self, shape, classes):
        super().__init__(nn.Linear(4, 3), nn.BatchNorm1d(3, track_running_stats=False))
class Buffered(Fits):
    def __init__(self, shape, classes):
        super().__init__(shape, classes)
        self.register_buffer("seen", torch.zeros(1))
class Double(Fits):
    def __init__(self, shape, classes):
        super().__init__(shape, classes)
        self.double()
class Frozen(Fits):
    def __init__(self, shape, classes):
        super().__init__(shape, classes)
        self.requires_grad_(False)
class Wide(nn.Sequential):
    def __init__(self, shape, classes):
        super().__init__(nn.Linear(5, 3))
class Short(nn.Sequential):
    def __init__(self, shape, classes):
        super().__init__(nn.Linear(4, 2))
class Empty(nn.Identity):
    def __init__(self, shape, classes):
        super().__init__()
class Three:
    def __init__(self, a, b, c): pass
def number(shape, classes): return 3
"""


@pytest.fixture
def user_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_models.py").write_text(USER)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "my_models", raising=False)


@pytest.mark.usefixtures("user_code")
@pytest.mark.parametrize("name", ["Fits", "Fixed"])
def test_user_models_are_built_by_the_seed(name: str) -> None:
    config = ModelConfig(kind=f"my_models:{name}")
    first, again = (build(config, (4,), 3, 1) for _ in range(2))
    assert isinstance(first, nn.Module)
    assert np.array_equal(to_vector(first), to_vector(again))


@pytest.mark.usefixtures("user_code")
@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("Normed", "GroupNorm"),
        ("Quiet", "GroupNorm"),
        ("Buffered", "seen is a buffer"),
        ("Double", "make all parameters float32"),
        ("Frozen", "frozen"),
        ("Wide", r"cannot take records of shape \(4,\)"),
        ("Short", r"returns \(2, 2\)"),
        ("Empty", "no parameters"),
        ("Three", "cannot be called"),
        ("number", "made a int"),
        ("absent", 'no function or class "absent"'),
    ],
)
def test_user_models_that_cannot_be_summed_are_refused(name: str, part: str) -> None:
    with pytest.raises(ModelError, match=part):
        build(ModelConfig(kind=f"my_models:{name}"), (4,), 3, 0)
