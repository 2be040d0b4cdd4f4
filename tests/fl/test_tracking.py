"""TensorBoard and MLflow hold the very numbers of the log, and stop no audit."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import fl.audit as audits
import fl.tracking
from fl.audit import Trained
from fl.config import Config
from fl.errors import ConfigError, TrackingError
from fl.folder import StoppedRun
from fl.progress import Silent, Task
from fl.round_log import Line, scalars
from tests.fl import tiny

pytest.importorskip("tensorboard")
pytest.importorskip("mlflow")

SETS = (
    "data.source=wine",
    "training.rounds=3",
    "repeats=1",
    'protections.names=["none", "secagg"]',
)


def _config(*sets: str) -> Config:
    return tiny.config(*SETS, *sets)


def _train(settings: Config, out: Path, progress: Any = None) -> Trained:
    return audits.train_only(
        settings, out=out, force=False, progress=progress or Silent()
    )


def _lines(folder: Path) -> list[Line]:
    text = (folder / "rounds.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def _events(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Read TensorBoard's files back with its own reader."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    reader = EventAccumulator(str(folder))
    reader.Reload()
    return {
        tag: [(one.step, one.value) for one in reader.Scalars(tag)]
        for tag in reader.Tags()["scalars"]
    }


def _agrees(found: dict[str, list[tuple[int, float]]], lines: Sequence[Line]) -> None:
    wanted: dict[str, list[tuple[int, float]]] = {}
    for line in lines:
        for name, value in scalars(line).items():
            wanted.setdefault(name, []).append((line["index"] + 1, value))
    assert wanted["loss"]
    assert set(found) == set(wanted)
    for name, points in wanted.items():
        assert [step for step, _ in found[name]] == [step for step, _ in points]
        # TensorBoard keeps float32.
        assert [value for _, value in found[name]] == pytest.approx(
            [value for _, value in points], rel=2**-23
        )


class _StopsAt(Silent):
    """Presses Ctrl-C when this run is done."""

    def __init__(self, name: str) -> None:
        self._name = name

    def task(self, name: str, total: int) -> Task:
        return _Stopping(self._name)


class _Stopping:
    def __init__(self, name: str) -> None:
        self._name = name

    def advance(self, note: str = "", steps: int = 1) -> None:
        if note.startswith(f"{self._name}: accuracy"):
            raise KeyboardInterrupt


@pytest.fixture(autouse=True)
def _one_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BLINDSUM_WORKERS", "1")


def test_both_hold_the_numbers_of_the_log_also_after_a_stop(tmp_path: Path) -> None:
    from mlflow.tracking import MlflowClient

    uri = f"sqlite:///{tmp_path}/mlflow.db"
    settings = _config("log.tensorboard=true", f'log.mlflow="{uri}"')
    with pytest.raises(StoppedRun):
        _train(settings, tmp_path / "run", _StopsAt("none, seed 0"))
    done = audits.resume_training(tmp_path / "run", progress=Silent())
    assert done.folder == tmp_path / "run"
    lines = _lines(done.folder)
    assert len(lines) == 6
    client = MlflowClient(tracking_uri=uri)
    (experiment,) = client.search_experiments(filter_string="name = 'blindsum'")
    runs = client.search_runs([experiment.experiment_id])
    assert len(runs) == 2
    for name in ("none", "secagg"):
        own = [line for line in lines if line["protection"] == name]
        _agrees(_events(done.folder / "tensorboard" / f"{name}-seed0"), own)
        (run,) = [one for one in runs if one.data.params["protection"] == name]
        assert run.info.status == "FINISHED"
        assert run.data.params["run_seed"] == "0"
        assert run.data.params["training.rounds"] == "3"
        assert uri not in run.data.params.values()
        history = {
            metric: [
                (one.step, one.value)
                for one in client.get_metric_history(run.info.run_id, metric)
            ]
            for metric in run.data.metrics
        }
        _agrees(history, own)


def test_a_package_that_is_not_there_is_said_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        fl.tracking,
        "find_spec",
        lambda name: None if name in ("mlflow", "tensorboard") else real(name),
    )
    for sets in ("log.tensorboard=true", "log.mlflow=sqlite:///x.db"):
        with pytest.raises(TrackingError, match=r"pip install 'blindsum\[track\]'"):
            _train(_config(sets), tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_an_address_that_cannot_be_opened_is_one_sentence_and_leaves_nothing(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").write_text("")
    uri = f"sqlite:///{tmp_path}/file/mlflow.db"
    with pytest.raises(TrackingError, match="mlflow cannot be opened"):
        _train(_config(f'log.mlflow="{uri}"'), tmp_path / "run")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_tracker_that_breaks_is_left_out_and_stops_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from fl.tensorboard_events import Events

    def gone(*_: object) -> None:
        raise ConnectionError("the server went away")

    monkeypatch.setattr(Events, "write", gone)
    done = _train(_config("log.tensorboard=true"), tmp_path / "run")
    assert len(_lines(done.folder)) == 6
    said = capsys.readouterr().err.strip().splitlines()
    assert said == [
        "blindsum: TensorBoard is left out from here on: ConnectionError: the server "
        "went away"
    ]


def test_without_being_asked_for_neither_is_written(tmp_path: Path) -> None:
    done = _train(_config(), tmp_path / "run")
    assert not (done.folder / "tensorboard").exists()


@pytest.mark.parametrize("uri", ["http://me:secret@host:5000", "http://me@host:5000"])
def test_a_password_is_refused_and_not_repeated(uri: str) -> None:
    with pytest.raises(ConfigError, match="MLFLOW_TRACKING_PASSWORD") as caught:
        _config(f'log.mlflow="{uri}"')
    assert "secret" not in str(caught.value)


def test_the_address_of_a_server_does_not_reach_the_page() -> None:
    from fl.manifest import shown

    settings = _config('log.mlflow="http://tracking.example:5000"')
    assert "5000" not in json.dumps(shown(settings))
