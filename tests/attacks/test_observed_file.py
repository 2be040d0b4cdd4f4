"""A saved observation comes back as it was, and a bad file is refused by its name."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from attacks import (
    Adversary,
    Certificate,
    LinearInversion,
    Observation,
    ObservationError,
    load_observation,
    save_observation,
)
from attacks.observed_header import SCHEMA, Header, from_bytes, to_bytes


def _model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Flatten(), nn.Linear(6, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3)
    ).eval()


def _observation(model: nn.Module | None = None) -> tuple[Observation, Tensor]:
    model = model or _model()
    record = torch.rand(1, 2, 3).to(next(model.parameters()).dtype)
    loss = functional.cross_entropy(model(record), torch.tensor([1]))
    names = [name for name, _ in model.named_parameters()]
    slopes = torch.autograd.grad(loss, list(model.parameters()))
    observation = Observation(
        adversary=Adversary.SERVER_PLUS,
        view="one upload",
        model=model,
        gradient=dict(zip(names, slopes, strict=True)),
        batch_size=1,
        steps=1,
        labels=torch.tensor([1]),
        input_shape=(2, 3),
        classes=3,
        value_range=(0.0, 1.0),
        lr=0.1,
        momentum=0.9,
        epochs=2,
    )
    return observation, record


def test_an_observation_comes_back_bit_for_bit(tmp_path: Path) -> None:
    observation, _ = _observation()
    part = observation.model.get_submodule("2")
    part.train()
    save_observation(observation, tmp_path / "one.npz")
    back = load_observation(tmp_path / "one.npz", _model())
    for name in (
        "adversary view batch_size steps input_shape classes value_range lr momentum "
        "epochs clients_summed tokens known"
    ).split():
        assert getattr(back, name) == getattr(observation, name), name
    assert back.labels is not None and back.labels.tolist() == [1]
    assert back.gradient is not None and observation.gradient is not None
    for name, value in observation.gradient.items():
        assert torch.equal(back.gradient[name], value)
    for name, value in observation.model.state_dict().items():
        assert torch.equal(back.model.state_dict()[name], value)
    modes = {name: one.training for name, one in back.model.named_modules()}
    assert modes == {n: one.training for n, one in observation.model.named_modules()}
    assert modes["2"] and not modes[""]
    assert (tmp_path / "one.npz").stat().st_mode & 0o777 == 0o600


def test_statistics_of_a_batch_and_labels_of_an_epoch_come_back(tmp_path: Path) -> None:
    observation, _ = _observation()
    observation = replace(
        observation,
        steps=4,
        epochs=2,
        labels=torch.tensor([1, 2]),
        batch_statistics={"2": (torch.rand(5).double(), torch.rand(5).double())},
    )
    save_observation(observation, tmp_path / "one.npz")
    back = load_observation(tmp_path / "one.npz", _model())
    assert back.labels is not None and back.labels.tolist() == [1, 2]
    assert back.of_an_epoch == 2
    seen, kept = observation.batch_statistics, back.batch_statistics
    assert seen is not None and kept is not None and seen.keys() == kept.keys()
    for one, other in zip(seen["2"], kept["2"], strict=True):
        assert torch.equal(one, other)


def test_half_of_the_statistics_are_refused(tmp_path: Path) -> None:
    observation, _ = _observation()
    save_observation(observation, tmp_path / "whole.npz")
    with np.load(tmp_path / "whole.npz") as whole:
        arrays = {**whole, "batch_mean/2": np.zeros(5)}
    np.savez(tmp_path / "half.npz", **arrays)
    with pytest.raises(ObservationError, match="write both"):
        load_observation(tmp_path / "half.npz", _model())


def test_a_saved_observation_is_attacked_as_the_live_one(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
    observation, record = _observation(model.double())  # float64 is kept
    save_observation(observation, tmp_path / "one.npz")
    back = load_observation(tmp_path / "one.npz", model.float())
    result = LinearInversion().run(back, seed=0)
    assert result.certificate is Certificate.CERTIFIED
    assert torch.allclose(result.inputs, record, atol=1e-8)


def test_what_was_not_seen_stays_unseen(tmp_path: Path) -> None:
    observation, _ = _observation()
    assert observation.gradient is not None
    known = {
        name: torch.rand(value.shape) > 0.5
        for name, value in observation.gradient.items()
    }
    partly = Observation(
        adversary=Adversary.SERVER,
        view="a part",
        model=observation.model,
        gradient=observation.gradient,
        batch_size=None,
        steps=None,
        labels=None,
        input_shape=(2, 3),
        classes=3,
        value_range=None,
        known=known,
    )
    save_observation(partly, tmp_path / "part.npz")
    back = load_observation(tmp_path / "part.npz", _model())
    assert back.known is not None and back.gradient is not None
    assert all(torch.equal(back.known[name], seen) for name, seen in known.items())
    assert (back.batch_size, back.labels) == (None, None)


def _arrays(path: Path) -> dict[str, Any]:
    observation, _ = _observation()
    save_observation(observation, path)
    with np.load(path, allow_pickle=False) as file:  # any NumPy can read it
        return dict(file)


def _header(arrays: dict[str, Any], **changes: object) -> None:
    tree = json.loads(arrays["observation"].tobytes()) | changes
    arrays["observation"] = np.frombuffer(json.dumps(tree).encode(), np.uint8)


BROKEN = {
    "lacks the parameter '1.weight'": lambda a: a.pop("parameter/1.weight"),
    "lacks the buffer '2.running_mean'": lambda a: a.pop("buffer/2.running_mean"),
    "holds the parameter 'extra'": lambda a: a.update({"parameter/extra": np.ones(2)}),
    "unknown array 'weights'": lambda a: a.update(weights=np.ones(2)),
    "has shape": lambda a: a.update({"parameter/1.bias": np.ones(1, np.float32)}),
    "which the model does not have; use": lambda a: a.update(
        {"gradient/strange": np.ones(2)}
    ),
    "did you mean 'batch_size'": lambda a: _header(a, batchsize=3),
    "is not 'blindsum.observation/1'": lambda a: _header(a, schema="other/9"),
    "steps must be a whole number": lambda a: _header(a, steps="three"),
    "training must be true or false": lambda a: _header(a, training=1),
    "switched names the module": lambda a: _header(a, switched=["nowhere"]),
    "adversary must be one of": lambda a: _header(a, adversary="everybody"),
    "labels must be integers": lambda a: a.update(labels=np.ones(1)),
    "that a file may ask for": lambda a: _header(a, input_shape=[1 << 20, 1 << 20]),
    "classes must be a whole number": lambda a: _header(a, classes=1 << 40),
    "value_range must be": lambda a: _header(a, value_range=[0.0]),
    "no uint8 array 'observation'": lambda a: a.pop("observation"),
    "shape () of object": lambda a: a.update(x=np.array(None, dtype=object)),
}


@pytest.mark.parametrize("said", BROKEN)
def test_a_bad_file_is_refused_in_one_sentence(said: str, tmp_path: Path) -> None:
    arrays = _arrays(tmp_path / "good.npz")
    BROKEN[said](arrays)
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(ObservationError) as caught:
        load_observation(tmp_path / "bad.npz", _model())
    if "object" not in said:  # NumPy's pickle header differs; refused is what counts
        assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_header_lacks_nothing_that_has_no_default() -> None:
    header = Header(training=True, input_shape=(2,), classes=3)
    assert from_bytes(to_bytes(header), where="here") == header
    with pytest.raises(ObservationError, match="lacks 'training'"):
        from_bytes(f'{{"schema": "{SCHEMA}"}}'.encode(), where="here")
    for raw in (b"\xff", b"[]", b'{"a": NaN', b"[" * 100_000):
        with pytest.raises(ObservationError):
            from_bytes(raw, where="here")


def test_sizes_are_checked_before_anything_is_read(tmp_path: Path) -> None:
    observation, _ = _observation()
    path = tmp_path / "one.npz"
    save_observation(observation, path)
    huge = np.lib.format.header_data_from_array_1_0(np.ones(1)) | {"shape": (1 << 50,)}
    with zipfile.ZipFile(path, "a") as file, file.open("labels2.npy", "w") as member:
        np.lib.format.write_array_header_1_0(member, huge)
    with pytest.raises(ObservationError, match="says shape"):
        load_observation(path, _model())
    with np.load(path.with_name("one.npz"), allow_pickle=False) as file:
        names = [name for name in file.files if name != "labels2"]
        np.savez_compressed(tmp_path / "small.npz", **{n: file[n] for n in names})
    with pytest.raises(ObservationError, match="uncompressed"):
        load_observation(tmp_path / "small.npz", _model())


def test_a_damaged_file_is_refused_or_read_never_a_defect(tmp_path: Path) -> None:
    observation, _ = _observation()
    save_observation(observation, tmp_path / "one.npz")
    raw = (tmp_path / "one.npz").read_bytes()
    rng, path, refused, model = (
        np.random.default_rng(0),
        tmp_path / "b.npz",
        0,
        _model(),
    )
    for _ in range(150):
        at = int(rng.integers(len(raw)))
        cut = int(rng.integers(0, 40))
        path.write_bytes(
            raw[:at] + rng.bytes(int(rng.integers(1, 9))) + raw[at + cut :]
        )
        try:
            load_observation(path, model)
        except ObservationError:
            refused += 1
    assert refused > 100


def test_files_are_never_overwritten_and_always_named(tmp_path: Path) -> None:
    observation, _ = _observation()
    save_observation(observation, tmp_path / "one.npz")
    with pytest.raises(ObservationError, match=r"one\.npz"):
        save_observation(observation, tmp_path / "one.npz")
    with pytest.raises(ObservationError, match=r"none\.npz"):
        load_observation(tmp_path / "none.npz", _model())
    (tmp_path / "text.npz").write_text("no zip")
    with pytest.raises(ObservationError, match=r"text\.npz"):
        load_observation(tmp_path / "text.npz", _model())
