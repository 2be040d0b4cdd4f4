"""`blindsum attack inversion` with chosen attacks, and on saved updates."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from attacks import Adversary, Observation, save_observation
from fl.cli import BAD_INPUT, run
from fl.inversion import battery, invert
from tests.fl import tiny

SMALL = (
    "--victims=2",
    "--set=training.rounds=1",
    "--set=federation.clients=10",
    "--set=federation.participation=1.0",
    "--set=federation.corrupt=2",
    "--set=federation.drop=3",
    "--set=attacks.iterations=3",
    "--quiet",
)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def _results(folder: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((Path(folder) / "results.json").read_text())
    return found


def _row(results: dict[str, Any], attack: str, metric: str) -> dict[str, Any]:
    (row,) = [
        one
        for one in results["rows"]
        if one["attack"] == attack and one["metric"].startswith(metric)
    ]
    return dict(row)


def _update(path: Path, **changes: Any) -> torch.Tensor:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    record = torch.rand(1, 1, 8, 8)
    loss = functional.cross_entropy(model(record), torch.tensor([3]))
    slopes = torch.autograd.grad(loss, list(model.parameters()))
    names = [name for name, _ in model.named_parameters()]
    facts: dict[str, Any] = {
        "adversary": Adversary.SERVER,
        "view": "one upload",
        "model": model,
        "gradient": dict(zip(names, slopes, strict=True)),
        "batch_size": 1,
        "steps": 1,
        "labels": None,
        "input_shape": (1, 8, 8),
        "classes": 10,
        "value_range": (0.0, 1.0),
    }
    save_observation(Observation(**(facts | changes)), path)
    return record


def test_a_chosen_attack_is_scored_beside_its_null_and_pictured(
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = ["attack", "inversion", "--attack=linear", "--out=found", *SMALL]
    assert run(command) == 0
    results = _results("found")
    psnr = _row(results, "linear", "PSNR")
    assert (psnr["n"], psnr["certified"], psnr["refused"]) == (2, 2, 0)
    assert psnr["minimum"] > 60 > psnr["null"]
    assert psnr["low"] <= psnr["value"] <= psnr["high"]
    exact = _row(results, "linear", "exact")
    assert (exact["value"], exact["null"]) == (1.0, 0.0)
    assert results["manifest"]["seed"] == 0
    assert {row["protection"] for row in results["rows"]} == {"none"}
    (picture,) = Path("found").glob("*.png")
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "other real records" in capsys.readouterr().out
    assert run([*command, "--force"]) == 0  # its own folder may be replaced


def test_a_mask_leaves_the_upload_to_chance_and_own_records_stay_private() -> None:
    made = tiny.dataset(records=200)
    np.savez("own.npz", x=made.features.reshape(-1, 1, 2, 3), y=made.labels)
    command = ["attack", "inversion", "--attack=linear", "--data=own.npz"]
    command += ["--protection=secagg", "--checkpoint=untrained", "--out=found"]
    assert run([*command, *SMALL]) == 0
    hidden = [
        row for row in _results("found")["rows"] if row["view"].startswith("one masked")
    ]
    assert hidden
    assert all(row["certified"] == 0 for row in hidden)
    assert not [*Path("found").glob("*.npz"), *Path("found").glob("*.png")]
    private = Path("found/private")
    assert private.stat().st_mode & 0o777 == 0o700
    modes = {one.stat().st_mode & 0o777 for one in private.iterdir()}
    assert modes == {0o600}


def test_a_saved_update_is_attacked_and_what_came_out_is_private(
    capsys: pytest.CaptureFixture[str],
) -> None:
    record = _update(Path("update.npz"))
    command = ["attack", "inversion", "--observation=update.npz", "--model=logreg"]
    command += ["--attack=linear", "--attack=r-gap", "--out=found"]
    assert run(command) == 0
    first, _, labels = _results("found")["answers"]
    assert (first["attack"], first["certificate"]) == ("linear", "certified")
    place = Path("found/private/linear.npz")
    assert place.stat().st_mode & 0o777 == 0o600
    with np.load(place) as found:
        assert np.allclose(found["inputs"], record.numpy(), atol=1e-3)
    assert labels["records"] == 1 and labels["certificate"] != "refused"
    with np.load("found/private/label-counts.npz") as found:
        assert found["counts"].argmax() == 3
    assert "no truth" in capsys.readouterr().out


def test_a_batch_behind_a_relu_falls_to_spear() -> None:
    command = ["attack", "inversion", "--attack=spear", "--model=mlp", "--batch=4"]
    assert run([*command, "--checkpoint=untrained", "--out=found", *SMALL]) == 0
    assert _row(_results("found"), "spear", "PSNR")["minimum"] > 60


def test_a_hopeless_update_is_told_why(capsys: pytest.CaptureFixture[str]) -> None:
    _update(Path("update.npz"), steps=5, batch_size=None)
    command = ["attack", "inversion", "--observation=update.npz", "--model=logreg"]
    assert run([*command, "--attack=dlg", "--out=found"]) == 0
    said = capsys.readouterr().out
    assert "5 local steps" in said
    assert "batch size is not known" in said
    assert "'batch_size'" in said  # DLG refuses, in the table
    assert _results("found")["answers"][0]["certificate"] == "refused"


INVERSION = ["attack", "inversion"]
BAD = {
    "misspelt": ([*INVERSION, "--attack=linar"], "did you mean linear"),
    "other family": (["attack", "property", "--attack=linear"], "leave them out"),
    "not of members": (
        ["attack", "membership", "--attack=lira-ofline"],
        "did you mean lira-offline",
    ),
    "batch alone": ([*INVERSION, "--batch=2"], "--batch"),
    "no model": ([*INVERSION, "--observation=update.npz"], "needs --model"),
    "no file": (
        [*INVERSION, "--observation=none.npz", "--model=logreg"],
        "none.npz",
    ),
    "wrong model": (
        [*INVERSION, "--observation=update.npz", "--model=mlp"],
        "architecture that the client trained",
    ),
    "a run beside a file": (
        [*INVERSION, "--observation=update.npz", "--model=logreg", "--victims=3"],
        "without a run",
    ),
    "tracked": (
        [*INVERSION, "--attack=linear", "--tensorboard"],
        "--tensorboard",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_sentence_and_status_2(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, said = BAD[name]
    _update(Path("update.npz"))
    assert run(arguments) == BAD_INPUT
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert said in lines[0]
    assert [one.name for one in Path().iterdir()] == ["update.npz"]


def test_victims_searched_side_by_side_score_as_one_by_one() -> None:
    settings = tiny.config()
    shots = tiny.worst_shots(settings, "none", trials=3)
    matching = battery(4)[-1]
    together = invert(shots, matching)
    for shot, one in zip(shots, together, strict=True):
        (alone,) = invert([shot], matching)
        assert one.exact == alone.exact
        for metric, (value, null) in alone.metrics.items():
            assert one.metrics[metric] == pytest.approx((value, null), abs=1e-3)
