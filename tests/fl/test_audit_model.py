"""`blindsum audit-model` and `blindsum.audit_model`: models trained elsewhere."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from torch import nn

import blindsum
from attacks import (
    Adversary,
    EpsilonInconsistent,
    LinearInversion,
    Observation,
    ParameterError,
    assert_epsilon_consistent,
    auc,
    gaussian_epsilon,
    save_observation,
)
from fl.cli import run
from fl.data.settings import DataConfig
from fl.errors import ConfigError, DataError, ModelError, UpdateError, UserError
from fl.finding import Exact, Ranking
from fl.model_audit import Claimed, parse
from fl.model_audit.answers import as_logits, logits, places
from fl.model_audit.carry_out import ORDER
from fl.model_audit.exposed import exposed
from fl.model_audit.lower import lower_bound
from fl.model_audit.measure import Asked, scores
from fl.model_audit.records import load
from fl.model_audit.references import attack, from_folder, from_objects
from fl.model_audit.subject import from_names, of_object
from fl.model_audit.update import findings, load_update
from fl.model_audit.validity import validity
from fl.model_audit.weights import with_weights
from fl.report import ValidityRow
from fl.settings import ModelConfig
from fl.status import BAD_INPUT, GATE_FAILED

Floats = NDArray[np.float64]
RECORDS, WIDTH, CLASSES = 240, 6, 3
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("fl.judged.MOST_RESAMPLES", 1000)


@pytest.fixture
def alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare the blind baseline where the records are alike by construction."""
    row = ValidityRow(
        view="released model",
        learner=None,
        value=None,
        low=None,
        high=None,
        confidence=None,
        n=0,
        groups=0,
        groups_of=1,
        permuted=None,
        beats_chance=False,
    )
    monkeypatch.setattr("fl.model_audit.carry_out.validity", lambda *_, seed: row)


audit_model = blindsum.audit_model  # type: ignore[attr-defined]


def _made(seed: int = 0) -> tuple[Floats, NDArray[np.int64], NDArray[np.bool_]]:
    """Records of noise, labels that mean nothing, and a coin for each."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(RECORDS, WIDTH))
    return x, rng.integers(0, CLASSES, RECORDS), rng.integers(0, 2, RECORDS) == 1


def _sets(
    x: Floats, y: NDArray[Any], inside: NDArray[np.bool_]
) -> tuple[tuple[Floats, NDArray[Any]], tuple[Floats, NDArray[Any]]]:
    return (x[inside], y[inside]), (x[~inside], y[~inside])


def _knows(x: Floats, y: NDArray[np.int64], inside: NDArray[np.bool_]) -> Any:
    """Return a function that is sure of members alone: it has learnt them by heart."""
    known = {
        row.tobytes(): label for row, label in zip(x[inside], y[inside], strict=True)
    }

    def predict(records: Floats) -> Floats:
        chances = np.full((len(records), CLASSES), 1 / CLASSES)
        for place, row in enumerate(records):
            if row.tobytes() in known:
                chances[place] = 0.05
                chances[place, known[row.tobytes()]] = 0.9
        return chances

    return predict


def _blind(records: Floats) -> Floats:
    """A model that has learnt nothing of anybody."""
    return records @ np.arange(WIDTH * CLASSES).reshape(WIDTH, CLASSES) / 10


def _csv(path: str, x: Floats, y: NDArray[Any]) -> str:
    head = ",".join([*(f"f{i}" for i in range(x.shape[1])), "label"])
    lines = [
        ",".join([*(repr(float(v)) for v in row), str(label)])
        for row, label in zip(x, y, strict=True)
    ]
    Path(path).write_text("\n".join([head, *lines]) + "\n")
    return path


def _report(folder: str | Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((Path(folder) / "report.json").read_text())
    return found


def _row(report: dict[str, Any], attack: str, metric: str = "AUC") -> dict[str, Any]:
    (row,) = [
        one
        for one in report["leakage"]
        if one["attack"] == attack
        and one["metric"] == metric
        and one["adversary"] == "outsider"
    ]
    return dict(row)


@pytest.mark.usefixtures("alike")
def test_a_model_that_knows_its_members_leaks_and_refutes_a_small_epsilon() -> None:
    x, y, inside = _made()
    found = audit_model(
        _knows(x, y, inside),
        *_sets(x, y, inside),
        claimed="epsilon=0.5 delta=1e-5 unit=example",
        random_split=True,
        out="found",
    )
    assert [gate.passed for gate in found.report.gates][-1] is False
    report = _report("found")
    for name in ("loss threshold", "modified entropy", "entropy"):
        row = _row(report, name)
        assert (row["verdict"], row["value"]) == ("leaks", 1.0), name
    (bound,) = report["privacy"]
    assert bound["epsilon_lower"] > bound["epsilon_upper"] == 0.5
    assert bound["claimed"] and "not verified" in bound["accountant"]
    assert report["answer"][0].startswith("FAILED")
    with pytest.raises(EpsilonInconsistent, match=r"0\.5 is claimed"):
        assert_epsilon_consistent("found")
    assert_epsilon_consistent("found", claimed=100.0)


@pytest.mark.usefixtures("alike")
def test_a_model_that_knows_nobody_is_not_accused() -> None:
    x, y, inside = _made(1)
    audit_model(
        _blind,
        *_sets(x, y, inside),
        claimed=Claimed(epsilon=0.5, delta=1e-5),
        random_split=True,
        out="found",
    )
    report = _report("found")
    assert _row(report, "loss threshold")["verdict"] == "not detected"
    assert all(gate["passed"] for gate in report["gates"])
    assert_epsilon_consistent(report)


@pytest.mark.usefixtures("alike")
def test_without_coins_or_other_views_the_page_says_why_nothing_was_measured() -> None:
    x, y, inside = _made()
    audit_model(
        _knows(x, y, inside),
        *_sets(x, y, inside),
        claimed="epsilon=0.5 delta=1e-5",
        out="found",
    )
    report = _report("found")
    assert report["privacy"][0]["epsilon_lower"] is None
    assert "fair coins" in report["answer"][2]
    page = Path("found/report.html").read_text()
    assert "claimed, not verified by us" in page
    assert "(proven)" not in page
    with pytest.raises(EpsilonInconsistent, match="nothing speaks"):
        assert_epsilon_consistent(Path("found"))
    rows = [one for one in report["leakage"] if one["adversary"] != "outsider"]
    assert {one["adversary"] for one in rows} == {"client", "server"}
    assert all(one["verdict"] == "not measured" and one["why"] for one in rows)


@pytest.mark.usefixtures("alike")
def test_a_fitted_estimator_is_asked_by_its_own_class_names() -> None:
    x, y, inside = _made()
    names = np.array(["cat", "dog", "eel"])[y]
    fitted = LogisticRegression().fit(x[inside], names[inside])
    audit_model(fitted, *_sets(x, names, inside), out="found")
    (outside, within) = _report("found")["utility"]
    assert outside["value"] == pytest.approx(fitted.score(x[~inside], names[~inside]))
    assert within["value"] == pytest.approx(fitted.score(x[inside], names[inside]))


def _net(seed: int = 3) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(WIDTH, 4), nn.BatchNorm1d(4), nn.Linear(4, CLASSES))


NETS = """
from torch import nn
from sklearn.linear_model import LogisticRegression
import numpy as np

class Net(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))

def fitted():
    rng = np.random.default_rng(0)
    return LogisticRegression().fit(rng.normal(size=(30, 6)), np.arange(30) % 3)

def ask(records):
    return records[:, :3]
"""


@pytest.fixture
def files() -> list[str]:
    """The command's options for two files of records, with a module beside them."""
    x, y, inside = _made()
    Path("someones_nets.py").write_text(NETS)
    _csv("in.csv", x[inside], y[inside])
    _csv("out.csv", x[~inside], y[~inside])
    return ["--members=in.csv", "--nonmembers=out.csv"]


def test_every_kind_of_file_gives_the_same_model() -> None:
    net = _net()
    state = net.state_dict()
    behind = {f"module.{name}": value for name, value in state.items()}
    torch.save(state, "net.pt")
    torch.save({"epoch": 3, "model": behind}, "c.ckpt")
    np.savez("named.npz", **{name: value.numpy() for name, value in state.items()})
    np.savez("flower.npz", *[value.numpy() for value in state.values()])
    for file in ("net.pt", "c.ckpt", "named.npz", "flower.npz"):
        found = with_weights(Path(file), _net(1)).state_dict()
        assert all(torch.equal(found[name], state[name]) for name in state), file
    flat = nn.Linear(WIDTH, CLASSES)
    np.savez("ours.npz", parameters=np.arange(WIDTH * CLASSES + CLASSES, dtype="f4"))
    assert with_weights(Path("ours.npz"), flat).state_dict()["bias"][0] == 18.0
    for file in ("net.pt", "named.npz", "flower.npz"):
        with pytest.raises(ModelError):
            with_weights(Path(file), flat)


def test_the_command_fills_a_class_or_asks_a_function(files: list[str]) -> None:
    torch.save(_net().state_dict(), "net.pt")
    command = ["audit-model", "--model=net.pt", "--arch=someones_nets:Net", *files]
    assert run([*command, "--out=found"]) == 0
    report = _report("found")
    assert report["audited"]["parameters"] == 51
    assert report["federation"] is None and report["manifest"]["simulation"] is None
    config = ModelConfig()
    for model, arch in (("someones_nets:ask", None), (None, "someones_nets:fitted")):
        subject = from_names(model, arch, config, (WIDTH,), CLASSES)
        assert logits(subject, _made()[0]).shape == (RECORDS, CLASSES)


def test_reference_models_sharpen_the_attack_without_the_bits_of_the_target() -> None:
    x, y, inside = _made()
    rng = np.random.default_rng(5)
    bits = rng.integers(0, 2, (16, RECORDS)) == 1
    pool = load(*_sets(x, y, inside), DataConfig(), coins=True)
    order = np.concatenate([np.flatnonzero(inside), np.flatnonzero(~inside)])
    models = [(_knows(x, y, one), one[order]) for one in bits]
    known = from_objects(models, pool, pool.labels.astype(np.int64))
    said = logits(of_object(_knows(x, y, inside)), pool.features)
    found = attack(known, said, pool.members, seed=0)
    assert list(found) == ["LiRA", "RMIA", "calibrated loss"]
    for name, score in found.items():
        assert not isinstance(score, str), score
        # These models are sure of all they know, so RMIA's ratios are mostly equal.
        least = 0.7 if name == "RMIA" else 0.99
        assert auc(score[pool.members], score[~pool.members]) > least, name
    swapped = attack(known, said, ~pool.members, seed=0)
    for name in set(found) & set(ORDER):
        assert np.array_equal(found[name], swapped[name]), name
    asked = Asked(members=pool.members, logits=said, labels=pool.labels.astype(int))
    sets, listed = exposed(known, asked, pool, seed=0)
    assert {row.by.value for row in sets} == {"all", "most exposed", "class"}
    assert all(row.low > 1 for row in sets)
    assert listed.splitlines()[0] == "rank,record,distance"
    assert len(listed.splitlines()) == 11
    told = [(models[0][0], pool.members)]
    with pytest.raises(DataError, match="without looking"):
        from_objects(told, pool, pool.labels.astype(np.int64))
    outside = [(one, np.zeros(RECORDS, dtype=np.bool_)) for one, _ in models[:3]]
    few = from_objects(outside, pool, pool.labels.astype(np.int64))
    offline = attack(few, said, pool.members, seed=0)
    assert "calibrated loss" in offline and "LiRA" not in offline


def test_a_folder_of_references_is_read_by_its_table(files: list[str]) -> None:
    net = _net()
    Path("refs").mkdir()
    for number in range(2):
        torch.save(_net(number).state_dict(), f"refs/{number}.pt")
    lines = ["0.pt,1.pt", *(f"{row % 2},{row // 2 % 2}" for row in range(RECORDS))]
    Path("refs/membership.csv").write_text("\n".join(lines))
    config = DataConfig(source="in.csv", label="label")
    pool = load("in.csv", "out.csv", config, coins=False)
    labels = pool.labels.astype(np.int64)
    answers = from_folder(Path("refs"), pool, of_object(net), labels).answers
    assert answers.members.sum(axis=1).tolist() == [RECORDS // 2, RECORDS // 2]
    assert not np.allclose(answers.logits[0], answers.logits[1])
    Path("refs/membership.csv").write_text("\n".join(lines[:-1]))
    with pytest.raises(DataError, match="one line for each"):
        from_folder(Path("refs"), pool, of_object(net), labels)


def test_an_update_tells_the_server_who_was_in_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("fl.model_audit.update.battery", lambda _: [LinearInversion()])
    x, y, inside = _made()
    torch.manual_seed(0)
    model = nn.Linear(WIDTH, CLASSES)
    pool = load(*_sets(x, y, inside), DataConfig(), coins=False)
    first = torch.from_numpy(pool.features[:1]).float()
    label = torch.from_numpy(pool.labels[:1].astype(np.int64))
    loss = nn.functional.cross_entropy(model(first), label)
    slopes = torch.autograd.grad(loss, list(model.parameters()))
    seen = Observation(
        adversary=Adversary.SERVER,
        view="an update",
        model=model,
        gradient=dict(zip(["weight", "bias"], slopes, strict=True)),
        batch_size=1,
        steps=1,
        labels=None,
        input_shape=(WIDTH,),
        classes=CLASSES,
        value_range=(-5.0, 5.0),
    )
    save_observation(seen, "update.npz")
    update = load_update(Path("update.npz"), of_object(model))
    rows = findings(
        update, pool, pool.labels.astype(np.int64), protection="this model", seed=0
    )
    by_name = {row.attack: row.measures[0] for row in rows}
    cosine = by_name["gradient cosine"]
    assert isinstance(cosine, Ranking)
    assert cosine.groups[0].scores.argmax() == 0
    assert cosine.groups[0].scores[0] == pytest.approx(1.0)
    linear = by_name["linear"]
    assert isinstance(linear, Exact)
    assert (linear.hits.tolist(), linear.nulls.tolist()) == ([True], [False])
    assert linear.certified == 1
    with pytest.raises(UpdateError):
        load_update(Path("update.npz"), of_object(nn.Linear(WIDTH, 2)))


def test_scores_of_somebody_else_are_judged_alike() -> None:
    rng = np.random.default_rng(0)
    inside = np.arange(200) < 100
    score = rng.normal(size=200) + 3 * inside
    lines = [f"{int(m)},{s:.4f}" for m, s in zip(inside, score, strict=True)]
    Path("scores.csv").write_text("\n".join(["member,score", *lines]))
    command = ["audit-model", "--scores=scores.csv", "--out=found", "--coins"]
    assert run([*command, "--claimed=epsilon=0.1 delta=0"]) == GATE_FAILED
    row = _row(_report("found"), "given score")
    assert row["verdict"] == "leaks" and row["n"] == 200
    private = Path("found/private/scores.npz")
    assert private.stat().st_mode & 0o777 == 0o600


def test_members_that_show_by_their_records_alone_make_the_audit_invalid() -> None:
    x, y, inside = (one[:80] for one in _made())
    row = validity(load(*_sets(x, y, inside), DataConfig(), coins=False), seed=0)
    assert not row.beats_chance
    x[inside] += 2.0
    row = validity(load(*_sets(x, y, inside), DataConfig(), coins=False), seed=0)
    assert row.beats_chance


@pytest.mark.usefixtures("alike")
def test_twins_are_dropped_from_both_sets_and_counted() -> None:
    x, y, inside = _made()
    members, others = _sets(x, y, inside)
    twins = tuple(
        np.concatenate([one, more[:7]])
        for one, more in zip(others, members, strict=True)
    )
    found = audit_model(_blind, members, twins, out="found")
    assert found.report.audited.dropped == 14
    assert found.report.audited.members == len(members[0]) - 7
    assert any("14 records" in one for one in found.report.not_covered)
    with pytest.raises(DataError, match="do not overlap"):
        audit_model(_blind, members, members, out="again")
    assert not Path("again").exists()


def _torch_pickle(path: str) -> None:
    torch.save(_net(), path)


BAD: dict[str, tuple[list[str], str]] = {
    "a pickled module": (
        ["--model=whole.pt", "--arch=someones_nets:Net"],
        "state_dict",
    ),
    "another model": (["--model=net.pt", "--arch=logreg"], "architecture"),
    "no architecture": (["--model=net.pt"], "--arch"),
    "no such file": (["--model=none.pt", "--arch=someones_nets:Net"], "none.pt"),
    "a pickle": (["--model=model.pkl", "--arch=someones_nets:Net"], "running code"),
    "no model": ([], "--model"),
    "no such class": (["--model=net.pt", "--arch=someones_nets:Not"], "--arch"),
    "no such column": (["--model=someones_nets:ask", "--label=outcom"], "outcom"),
    "a strange claim": (
        ["--model=someones_nets:ask", "--claimed=epsilom=8 delta=0"],
        "did you mean epsilon",
    ),
    "training keys": (
        ["--model=someones_nets:ask", "--set=training.rounds=3"],
        "nothing is trained",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_sentence_and_nothing_is_written(
    name: str, files: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    _torch_pickle("whole.pt")
    torch.save(_net().state_dict(), "net.pt")
    before = sorted(Path().iterdir())
    options, said = BAD[name]
    assert run(["audit-model", *options, *files]) == BAD_INPUT
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert said in line
    assert [
        one for one in sorted(Path().iterdir()) if one.name != "__pycache__"
    ] == before


def test_too_few_records_are_refused() -> None:
    x, y, _ = _made()
    inside = np.arange(RECORDS) < 5
    with pytest.raises(DataError, match="at least 20"):
        audit_model(_blind, *_sets(x, y, inside))


def test_a_split_that_no_coin_would_make_gives_no_bound() -> None:
    inside = np.arange(1000) < 300
    score = np.random.default_rng(0).normal(size=1000)
    with pytest.raises(DataError, match="hardly ever"):
        lower_bound(score, inside, None, coins=True, seed=0)
    why = lower_bound(
        score,
        inside,
        Claimed(epsilon=1, delta=0, unit="client"),
        coins=True,
        seed=0,
    )
    assert isinstance(why, str) and "client" in why


def test_a_claim_of_gaussian_noise_is_refuted_by_less() -> None:
    rng = np.random.default_rng(0)
    inside = rng.integers(0, 2, 1000) == 1
    score = rng.normal(size=1000) + 2.0 * inside
    claim = Claimed(epsilon=1.0, delta=1e-5, shape="gaussian")
    found = lower_bound(score, inside, claim, coins=True, seed=0)
    assert not isinstance(found, str) and found.gaussian is not None
    assert 1.0 < found.any.value < found.gaussian.value < gaussian_epsilon(2.0, 1e-5)
    assert found.deciding is found.gaussian
    bare = Claimed(epsilon=1.0, delta=1e-5)
    plain = lower_bound(score, inside, bare, coins=True, seed=0)
    assert not isinstance(plain, str) and plain.deciding == found.any


def test_equal_scores_in_order_of_membership_prove_nothing() -> None:
    inside = np.arange(1000) < 500
    bound = lower_bound(np.zeros(1000), inside, None, coins=True, seed=0)
    assert not isinstance(bound, str) and bound.any.value < 0.5


@pytest.mark.parametrize(
    "text",
    ["epsilon=8", "delta=1e-5", "epsilon=x delta=0", "epsilon=8 delta=1 unit=example",
     "epsilon=8 delta=0 unit=person", "epsilon=8 delta=0 shape=gaussian",
     "epsilon=8 epsilon=9 delta=0", "8"],
)  # fmt: skip
def test_a_claim_that_says_too_little_or_nonsense_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="claimed"):
        parse(text)


def test_a_claim_is_read_with_its_unit() -> None:
    assert parse("epsilon=8, delta=1e-5, unit=client") == Claimed(
        epsilon=8.0, delta=1e-5, unit="client"
    )


def test_probabilities_and_logits_score_alike_and_members_score_higher() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CLASSES, 50)
    logits = rng.normal(size=(50, CLASSES))
    logits[np.arange(25), labels[:25]] += 5
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    inside = np.arange(50) < 25
    for given in (logits, chances):
        asked = Asked(members=inside, logits=as_logits(given, "it"), labels=labels)
        for name, score in scores(asked).items():
            assert score[:25].mean() > score[25:].mean(), name
    one = scores(Asked(members=inside, logits=logits, labels=labels))
    two = scores(Asked(members=inside, logits=as_logits(chances, "it"), labels=labels))
    for name in one:
        assert np.allclose(one[name], two[name]), name


def test_labels_find_their_columns_or_are_refused() -> None:
    assert places(np.array([1, 2, 3]), 3, None).tolist() == [0, 1, 2]
    assert places(np.array([0, 2]), 3, None).tolist() == [0, 2]
    assert places(np.array(["b", "a"]), 2, ("b", "a")).tolist() == [0, 1]
    for labels, names in ((["a", "b"], None), (["c"], ("a", "b", "d"))):
        with pytest.raises(UserError):
            places(np.array(labels), 3, names)


def test_one_line_for_a_test_suite_refutes_and_never_passes_on_nothing() -> None:
    assert_epsilon_consistent((0.5, 1.0))
    with pytest.raises(AssertionError, match="at least 2"):
        assert_epsilon_consistent((2.0, 1.0))
    with pytest.raises(EpsilonInconsistent, match="nothing"):
        assert_epsilon_consistent({"privacy": []})
    row = {"protection": "it", "epsilon_lower": 0.5, "epsilon_upper": 1.0}
    shaped = {**row, "epsilon_lower_gaussian": 2.0}
    assert_epsilon_consistent({"privacy": [shaped]})  # assumes what nobody claims
    with pytest.raises(EpsilonInconsistent, match="at least 2"):
        assert_epsilon_consistent({"privacy": [{**shaped, "claimed": True}]})
    for nonsense in ({"privacy": None}, (float("nan"), 1.0), "no/such/run"):
        with pytest.raises(ParameterError):
            assert_epsilon_consistent(nonsense)  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["audit_torch", "audit_sklearn", "audit_flower"])
def test_the_examples_train_and_are_audited(name: str, tmp_path: Path) -> None:
    source = ROOT / "examples" / f"{name}.py"
    shutil.copy(source, tmp_path)
    done = subprocess.run(
        [sys.executable, source.name],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    if name == "audit_sklearn":  # it ends by refuting its own claim
        assert done.returncode == 1
        assert "1 is claimed" in done.stderr
        return
    assert done.returncode == 0, done.stderr
    command = done.stdout.strip().splitlines()[-1]
    sys.path_importer_cache.clear()
    assert run([*shlex.split(command)[1:], "--out=found"]) == 0
    assert _row(_report("found"), "loss threshold")["value"] is not None


def _of_people(path: str, x: Floats, y: NDArray[Any], first: int) -> None:
    """Write records with a column that says whose they are, three to a person."""
    _csv(path, x, y)
    head, *lines = Path(path).read_text().splitlines()
    named = [f"{line},p{first + i // 3}" for i, line in enumerate(lines)]
    Path(path).write_text("\n".join([f"{head},patient", *named]) + "\n")


def test_persons_are_asked_of_and_counted_where_the_data_name_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    x, y, inside = _made()
    Path("someones_nets.py").write_text(NETS)
    torch.save(_net().state_dict(), "net.pt")
    _of_people("in.csv", x[inside], y[inside], 0)
    _of_people("out.csv", x[~inside], y[~inside], 1000)
    command = ["audit-model", "--model=net.pt", "--arch=someones_nets:Net"]
    command += ["--members=in.csv", "--set=data.subject=patient"]
    assert run([*command, "--nonmembers=out.csv", "--out=found"]) == 0
    report = _report("found")
    persons = -(-int(inside.sum()) // 3) + -(-int((~inside).sum()) // 3)
    assert _row(report, "loss threshold, by person")["n"] == persons
    assert _row(report, "loss threshold")["n"] == persons
    assert "patient" not in json.dumps(report["leakage"])
    capsys.readouterr()
    assert run([*command, "--nonmembers=out.csv", "--coins", "--out=no"]) == 2
    assert "tossed for records" in capsys.readouterr().err
    _of_people("both.csv", x[~inside], y[~inside], 0)
    assert run([*command, "--nonmembers=both.csv", "--out=no"]) == 2
    assert "in or out as a whole" in capsys.readouterr().err
    assert not Path("no").exists()
