"""Configuration: layers, all problems at once, and what implies what."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from fl.config import DEFAULTS, Config, load_config
from fl.errors import ConfigError, UserError
from fl.section import Section

EXAMPLES = Path(__file__).parents[2] / "examples"
FOUR_SITES = (
    '[data]\nlabel = "y"\nsites = {a="a.csv", b="b.csv", c="c.csv", d="d.csv"}\n'
)


def toml(folder: Path, text: str) -> Path:
    path = folder / "my.toml"
    path.write_text(text, encoding="utf-8")
    return path


def refusal(path: Path | None, *sets: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(path, sets)
    return str(caught.value)


def test_an_empty_file_gives_the_defaults_of_every_key(tmp_path: Path) -> None:
    config = load_config(toml(tmp_path, ""))
    assert config == Config()
    assert (config.data.source, config.federation.clients) == ("digits", 10)
    assert config.federation.corrupt > 0


def test_no_file_gives_the_run_of_the_commented_defaults_file() -> None:
    config = load_config(None)
    assert config == load_config(DEFAULTS)
    assert (config.federation.clients, config.federation.cohort) == (100, 25)
    assert config.federation.corrupt > 0
    assert config.privacy.epsilon <= 8
    for line in DEFAULTS.read_text().splitlines():
        key = line.partition("=")[0].strip()
        if "=" in line and not line.startswith("#"):
            assert "#" in line, f"{key} is not explained"


def test_later_layers_win(tmp_path: Path) -> None:
    path = toml(tmp_path, "seed = 1\nprofile = 'full'\n[training]\nrounds = 5\n")
    config = load_config(path, ["training.rounds=7", "seed=2"], seed=3, out="there")
    assert config.training.rounds == 7
    assert config.seed == 3
    assert config.profile == "full"
    assert config.output.out == "there"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("data.source=wine", "wine"),
        ("data.path=x.npz", "x.npz"),
        ('data.source="wine"', "wine"),
        ("data.source = folder/x=1.csv", "folder/x=1.csv"),
    ],
)
def test_set_reads_toml_and_takes_bare_words_as_strings(
    text: str, expected: str
) -> None:
    label = ["data.label=y"] if expected.endswith(".csv") else []
    assert load_config(None, [text, *label]).data.source == expected


def test_set_keeps_the_types_of_toml() -> None:
    config = load_config(
        None,
        [
            "attacks.batches=[1, 2]",
            "training.learning_rate=1",
            'data.bounds."a.b"=[0, 1]',
            "name=2024-01-31",
        ],
    )
    assert config.attacks.batches == (1, 2)
    assert config.training.learning_rate == 1.0
    assert config.data.bounds == {"a.b": (0.0, 1.0)}
    assert config.name == "2024-01-31"


def test_set_replaces_what_the_file_says_under_a_synonym(tmp_path: Path) -> None:
    path = toml(tmp_path, "[data]\nsource = 'wine'\n")
    assert load_config(path, ["data.path=x.npz"]).data.source == "x.npz"


def test_a_key_and_its_synonym_together_are_refused(tmp_path: Path) -> None:
    path = toml(tmp_path, "[data]\nsource = 'wine'\npath = 'x.npz'\n")
    assert "data.path and data.source are the same" in refusal(path)


@pytest.mark.parametrize(
    ("text", "key", "nearest"),
    [
        ("sed = 1", "sed", "seed"),
        ("[trainng]\nrounds = 3", "trainng", "training"),
        ("[training]\nround = 3", "training.round", "training.rounds"),
        ("[data]\npth = 'x.npz'", "data.pth", "data.path"),
        ("[data]\nrounds = 3", "data.rounds", "training.rounds"),
        ("clients = 3", "clients", "federation.clients"),
    ],
)
def test_an_unknown_key_names_itself_its_file_and_the_nearest(
    tmp_path: Path, text: str, key: str, nearest: str
) -> None:
    message = refusal(toml(tmp_path, text))
    assert f"unknown key {key} in my.toml" in message
    assert f"did you mean {nearest}?" in message


def test_an_unknown_key_like_no_other_lists_the_valid_ones() -> None:
    message = refusal(None, "model.zzzzzz=1")
    assert "unknown key model.zzzzzz in --set" in message
    assert "kind, hidden" in message


def test_all_problems_are_reported_at_once(tmp_path: Path) -> None:
    text = (
        "nme = 'x'\n[data]\nlimit = 'five'\nsource = 'nothing'\n"
        "[federation]\nclients = 4\n[model]\nkind = 'huge'\n"
    )
    message = refusal(toml(tmp_path, text), "nonsense", "training.momentum=2")
    assert message.startswith("7 problems")
    for part in ("nme", "data.limit", "data.source", "honest", "model.kind"):
        assert part in message
    assert "--set nonsense" in message
    assert "--set: training.momentum" in message


@pytest.mark.parametrize(
    "text",
    [
        "seed = true",
        'seed = "0"',
        "seed = 1.0",
        "seed = -1",
        "name = 'a/b'",
        "name = '../x'",
        "repeats = 0",
        "profile = 'fast'",
        "[data]\ntest_fraction = 1.0",
        "[data]\nlimit = 0",
        "[data]\nbounds = {age = [3, 1]}",
        "[data]\nbounds = {age = [0, inf]}",
        "[data]\ncategories = {cp = [1, 1]}",
        "[data]\ncategories = {cp = [1]}",
        "[data]\npositive = '> many'",
        "[data]\nsites = {a = 'a.csv'}",
        "[data]\nsource = 'x.csv'",
        "[training]\nlearning_rate = nan",
        "[training]\nlearning_rate = 0",
        "[protections]\nnames = []",
        "[protections]\nnames = ['none', 'none']",
        "[protections]\nnames = ['magic']",
        "[attacks]\nbatches = 4",
        "data = 3",
    ],
)
def test_values_out_of_range_or_of_the_wrong_type_are_refused(
    tmp_path: Path, text: str
) -> None:
    assert "my.toml: " in refusal(toml(tmp_path, text))


@pytest.mark.parametrize("old", ["he", "he+dp-sgd"])
def test_an_old_name_of_a_protection_is_answered_with_the_new_one(old: str) -> None:
    new = old.replace("he", "he-bfv")
    with pytest.raises(ConfigError) as caught:
        load_config(None, [f'protections.names=["none", "{old}"]'])
    assert f'"{old}", which is called "{new}".' in str(caught.value)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("seed = ", "line 1, column 8"),
        ("seed = 1\n[data\n", "line 2, column 6"),
        ("seed = 1\nseed = 2\n", "line 2"),
        ("seed = [1,\n2", "line 2, column 2"),
    ],
)
def test_malformed_toml_names_file_line_and_column(
    tmp_path: Path, text: str, place: str
) -> None:
    message = refusal(toml(tmp_path, text))
    assert "my.toml" in message
    assert place in message
    assert "not TOML" in message


def test_a_file_that_is_absent_or_binary_is_a_config_error(tmp_path: Path) -> None:
    assert "no such file" in refusal(tmp_path / "absent.toml")
    assert "cannot be read" in refusal(tmp_path)
    path = tmp_path / "my.toml"
    path.write_bytes(b"\xff\xfe\x00")
    assert "UTF-8" in refusal(path)


def test_too_few_honest_clients_are_refused_with_a_cure_that_works(
    tmp_path: Path,
) -> None:
    path = toml(tmp_path, "")
    message = refusal(path, "federation.clients=6")
    assert "lower drop + corrupt to 4 or less" in message
    assert "at least 7 clients" in message
    load_config(path, ["federation.clients=7"])
    load_config(path, ["federation.clients=6", "federation.drop=2"])


def test_the_cure_counts_the_clients_that_join_a_round(tmp_path: Path) -> None:
    path = toml(tmp_path, "[federation]\nparticipation = 0.25\n")
    message = refusal(path, "federation.clients=24")
    assert "clients x participation = 6" in message
    assert "at least 28 clients" in message
    load_config(path, ["federation.clients=28"])


def test_dropout_without_planned_drops_is_refused() -> None:
    assert "plans for none" in refusal(
        None, "federation.drop=0", "federation.dropout=0.1"
    )


def test_sites_imply_clients_and_partition(tmp_path: Path) -> None:
    path = toml(tmp_path, FOUR_SITES + "[federation]\ncorrupt = 1\ndrop = 1\n")
    federation = load_config(path).federation
    assert (federation.clients, federation.partition) == (4, "site")


def test_sites_count_as_the_clients_that_the_plan_needs(tmp_path: Path) -> None:
    assert "clients = 4 less drop = 3" in refusal(toml(tmp_path, FOUR_SITES))


@pytest.mark.parametrize("text", ["clients = 5", 'partition = "iid"'])
def test_what_contradicts_the_sites_is_refused(tmp_path: Path, text: str) -> None:
    tail = f"[federation]\ncorrupt = 1\ndrop = 1\n{text}\n"
    message = refusal(toml(tmp_path, FOUR_SITES + tail))
    assert "contradicts" in message
    assert "data.sites; remove it" in message


def test_sites_and_source_together_are_refused(tmp_path: Path) -> None:
    assert "both given" in refusal(toml(tmp_path, FOUR_SITES), "data.source=wine")


def test_folder_prefixes_relative_files_only() -> None:
    data = load_config(None, ["data.folder=/srv/x"]).data
    assert data.file("a.csv") == Path("/srv/x/a.csv")
    assert data.file("/abs/a.csv") == Path("/abs/a.csv")


@pytest.mark.parametrize("name", ["hospitals.toml", "mnist.toml"])
def test_resolved_is_json_and_gives_the_config_back(name: str) -> None:
    config = load_config(EXAMPLES / name)
    resolved = json.loads(json.dumps(config.resolved(), allow_nan=False))
    assert Config.model_validate(resolved) == config
    assert set(resolved) == set(Config.model_fields)


def _documented(name: str, section: type[Section], plain: set[str]) -> None:
    for key, value in section.model_fields.items():
        below = value.annotation
        if isinstance(below, type) and issubclass(below, Section):
            _documented(f"{name}.{key}", below, plain)
        else:
            assert value.description or key in plain, f"{name}.{key}"


def test_every_key_is_documented() -> None:
    plain = {"seed", "rounds", "batch_size", "learning_rate", "momentum"}
    for section, field in Config.model_fields.items():
        model = field.annotation
        if isinstance(model, type) and issubclass(model, Section):
            _documented(section, model, plain)


def test_a_config_cannot_be_changed() -> None:
    config = load_config(None)
    with pytest.raises(ValidationError):
        config.seed = 4
    assert issubclass(ConfigError, UserError)


def test_a_misspelt_key_of_an_inner_section_names_its_neighbours(
    tmp_path: Path,
) -> None:
    message = refusal(toml(tmp_path, ""), "privacy.example.clipnorm=1")
    assert "privacy.example.clip_norm_l2" in message


@pytest.mark.parametrize(
    ("sets", "says"),
    [
        (["training.optimizer='adam'", "training.momentum=0.9"], "is of sgd"),
        (["privacy.example.optimizer='adam'", "privacy.example.momentum=0.9"], "is of"),
        (["training.rounds=5", "training.warmup=5"], "none of the 5 rounds"),
        (["training.optimizer='lion'"], "optimizer"),
        (["training.proximal=-1.0"], "proximal"),
        (["training.weight_decay=nan"], "weight_decay"),
        (["training.schedule='linear'"], "schedule"),
    ],
)
def test_what_local_training_cannot_do_is_refused(sets: list[str], says: str) -> None:
    assert says in refusal(None, *sets)


def test_momentum_and_warm_up_are_taken_where_they_mean_something() -> None:
    sets = ["training.momentum=0.9", "training.rounds=5", "training.warmup=4"]
    training = load_config(None, sets).training
    assert (training.momentum, training.warmup) == (0.9, 4)
