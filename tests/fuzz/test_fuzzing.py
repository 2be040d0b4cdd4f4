"""A short run of the fuzzer, and proof that it would see what it looks for."""

import pytest

from secagg import keylist
from secagg.errors import DecodeError
from secagg.messages import decode
from tests.fuzz import corpus, drive, layers
from tests.fuzz.layers import Layer
from tests.fuzz.targets import TARGETS, Target

pytestmark = pytest.mark.fuzz


@pytest.fixture(autouse=True)
def findings_are_kept_apart(monkeypatch, tmp_path):
    monkeypatch.setattr(drive.tempfile, "tempdir", str(tmp_path))


def test_a_short_run_reaches_every_layer_and_finds_nothing():
    report = drive.mutational(2500, seed=1)
    assert report.cases == 2500
    assert not report.findings, report
    assert report.traced
    decoders = report.reached["decoders"]
    sides = report.reached["clients"] + report.reached["servers"]
    assert set(decoders) >= set(Layer) - {Layer.BODY, Layer.HANDLED}
    assert set(sides) >= set(Layer) - {Layer.BODY}
    assert Layer.BODY in decoders + sides  # reads, but is a second encoding


def test_every_valid_message_gets_through():
    with corpus.remembered_graphs():
        for target in TARGETS:
            last = Layer.CANONICAL if target.group == "decoders" else Layer.HANDLED
            assert target.run(target.bases[0]) is last, target.name


def test_a_run_is_repeated_by_its_seed():
    first, second, third = (drive.mutational(100, seed) for seed in (5, 5, 6))
    assert first.reached == second.reached != third.reached


def planted(run):
    """Run one case of a faulty target and return the report."""
    report = drive.Report("planted", 0)
    with drive.alarmed():
        drive.arm()
        report.run(Target("planted", "decoders", run, [b"x"]), b"x", traced=True)
        drive.disarm()
    return report


def test_an_untyped_error_is_a_crash(monkeypatch):
    def careless(*arguments):
        raise IndexError("list index out of range")

    monkeypatch.setattr(keylist, "_read_keys", careless)
    report = drive.mutational(200, seed=1)
    assert report.crashes and "IndexError" in report.crashes[0]


def test_an_accepted_second_encoding_is_a_crash(monkeypatch):
    def lenient(data, limits):
        try:
            return decode(data, limits)
        except DecodeError:
            return decode(data[:-1], limits)

    monkeypatch.setattr(layers, "decode", lenient)
    report = drive.mutational(200, seed=1)
    assert report.crashes and "decode accepted" in report.crashes[0]


def test_an_endless_case_is_a_hang(monkeypatch):
    def endless(data):
        while True:
            pass

    monkeypatch.setattr(drive, "HANG_S", 0.05)
    assert len(planted(endless).hangs) == 1


def test_memory_beyond_the_allowance_is_a_crash():
    def greedy(data):
        return Layer(len(bytearray(10_000_000)) * 0)

    assert "took 10" in planted(greedy).crashes[0]
    assert not planted(lambda data: Layer.NOTHING).findings
