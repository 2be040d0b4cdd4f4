import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import secagg

ROOT = Path(__file__).parents[2]


def test_at_most_25_public_names_and_all_exist():
    assert len(secagg.__all__) <= 25
    assert all(hasattr(secagg, name) for name in secagg.__all__)


def test_every_public_name_is_documented():
    for name in secagg.__all__:
        assert getattr(secagg, name).__doc__, name


def test_the_ten_lines_of_the_package_docstring_run():
    lines = secagg.__doc__.split("::\n\n", 1)[1].split("\n\nOver a network")[0]
    names: dict[str, object] = {}
    exec("\n".join(line.removeprefix("    ") for line in lines.splitlines()), names)
    out = names["out"]
    expected = np.mean([i / 10 for i in range(10) if i != 3])
    assert np.abs(out.mean - expected).max() <= out.max_error


@pytest.mark.parametrize(
    ("example", "survivors"),
    [("embed.py", "9 survivors"), ("transport.py", "8 survivors")],
)
def test_an_example_runs_and_prints_the_guarantee_and_the_error(example, survivors):
    ran = subprocess.run(
        [sys.executable, f"examples/{example}"],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "10 clients, threshold 7" in ran.stdout and survivors in ran.stdout
    error, bound = re.search(r"error (\S+), bound (\S+)", ran.stdout).groups()
    assert float(error) <= float(bound) < 1e-4


def test_the_first_example_has_ten_lines():
    source = (ROOT / "examples" / "embed.py").read_text()
    lines = [line for line in source.splitlines() if line and '"""' not in line]
    assert len(lines) == 10


def test_the_contract_that_the_design_promises_works_as_written():
    sites = [f"site-{i}" for i in range(10)]
    updates = {site: np.full(8, i / 10) for i, site in enumerate(sites)}
    plan = secagg.plan(clients=10, corrupt=2, drop=3)
    out = secagg.run_round(
        plan, updates, weights={"site-0": 812}, vanish={"site-3": "masked_input"}
    )
    assert out.weight == 812 + 8 and len(out.survivors) == 9
    assert out.mean.shape == (8,) and out.max_error < 1e-4
    assert out.bytes_up_per_client["site-0"] > 0

    key = secagg.IdentityKey.generate()
    keys = {site: secagg.IdentityKey.generate().public for site in sites}
    policy = secagg.Policy(roster=keys | {"site-3": key.public})
    client = secagg.Client(plan, policy, me="site-3", key=key)
    context = secagg.context(b"model")
    assert client.offer(updates["site-3"], weight=812, context=context) == ()
    server = secagg.Server(plan, sites, session=b"run-7/round-12", length=8)
    invitations = dict(server.start())
    for reply in client.receive(invitations["site-3"]):
        assert server.receive("site-3", reply) == ()
    server.timeout()
    with pytest.raises(secagg.AbortError):
        server.result()

    vector, spec = secagg.flatten(
        {"w": np.ones((2, 3), np.float32), "bn.num_batches_tracked": np.int64(3)},
        skip=["*.num_batches_tracked"],
    )
    assert spec.restore(vector)["w"].shape == (2, 3)
