from dataclasses import FrozenInstanceError, fields, replace

import pytest
import torch

from attacks import (
    DLG,
    CosineTV,
    GradInversion,
    LinearInversion,
    LocalSteps,
    MissingKnowledge,
    Modern,
    Observation,
    ObservationError,
    ParameterError,
    Part,
    label_counts,
    require,
)

ATTACKS = [
    LinearInversion(),
    DLG(iterations=3, restarts=1),
    CosineTV(iterations=3, restarts=2),
    CosineTV(iterations=3, restarts=2, joint_labels=True, part=Part(share=0.5)),
    Modern(iterations=3, restarts=2),
    GradInversion(iterations=3, restarts=2),
    LocalSteps(iterations=3, restarts=2),
]
IDS = [attack.name for attack in ATTACKS]


@pytest.fixture
def seen(net, observe, digits):
    images, labels = digits
    told = observe(net(), images[:2], labels[:2], knows_labels=True)
    return replace(told, lr=0.1)


def test_undeclared_fields_are_withheld(seen):
    handed = require(seen, frozenset({"gradient"}), attack="probe")
    assert handed.gradient is not None
    withheld = (handed.labels, handed.batch_size, handed.steps, handed.value_range)
    assert withheld == (None,) * 4


def test_an_observation_has_no_field_for_the_truth(seen):
    names = {field.name for field in fields(Observation)}
    assert not names & {"inputs", "truth", "records", "data", "images", "targets"}
    with pytest.raises((AttributeError, TypeError)):
        seen.truth = torch.zeros(1)
    with pytest.raises(FrozenInstanceError):
        seen.batch_size = 1


@pytest.mark.parametrize("attack", ATTACKS, ids=IDS)
def test_an_attack_refuses_to_run_without_a_needed_field(seen, attack):
    for field in attack.needs:
        blind = replace(seen, **{field: None})
        with pytest.raises(MissingKnowledge) as caught:
            attack.run(blind, seed=0)
        assert (caught.value.attack, caught.value.field) == (attack.name, field)


@pytest.mark.parametrize("attack", ATTACKS, ids=IDS)
def test_an_attack_does_not_read_what_it_did_not_declare(seen, attack):
    declared = attack.needs | attack.uses
    open_view = attack.run(seen, seed=0)
    blanks = {
        name: None
        for name in ("gradient", "batch_size", "steps", "labels", "value_range", "lr")
        if name not in declared
    }
    blind = attack.run(replace(seen, **blanks), seed=0)
    assert torch.equal(open_view.inputs, blind.inputs)


@pytest.mark.parametrize("attack", ATTACKS, ids=IDS)
def test_an_attack_leaves_the_model_and_the_gradient_as_they_were(seen, attack):
    model, gradient = seen.model, seen.gradient
    before = {name: t.clone() for name, t in model.state_dict().items()}
    copies = {name: t.clone() for name, t in gradient.items()}
    attack.run(seen, seed=0)
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())
    assert all(torch.equal(t, copies[n]) for n, t in gradient.items())
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert all(not m._forward_pre_hooks for m in model.modules())


def test_a_misspelt_need_is_the_attack_authors_fault(seen):
    with pytest.raises(ParameterError, match="gradients"):
        require(seen, frozenset({"gradients"}), attack="probe")


@pytest.mark.parametrize(
    "fault",
    [
        {"gradient": {}},
        {"gradient": {"nobody": torch.zeros(1)}},
        {"gradient": {"1.bias": torch.zeros(63)}},
        {"gradient": {"1.bias": torch.zeros(64, dtype=torch.int64)}},
        {"labels": torch.tensor([1, 2, 3])},
        {"labels": torch.tensor([1, 10])},
        {"labels": torch.tensor([1.0, 2.0])},
        {"batch_size": 0},
        {"clients_summed": 0},
        {"classes": 1},
        {"input_shape": ()},
        {"value_range": (1.0, 1.0)},
        {"value_range": (float("nan"), 1.0)},
    ],
    ids=str,
)
def test_a_contradictory_observation_is_refused(seen, fault):
    with pytest.raises(ObservationError):
        replace(seen, **fault)


def test_printing_shows_no_gradient_and_no_label(seen):
    assert "tensor" not in repr(seen)
    result = LinearInversion().run(seen, seed=0)
    assert "tensor" not in repr(result)


def test_an_outsider_has_no_label_counts(seen):
    with pytest.raises(MissingKnowledge):
        label_counts(replace(seen, gradient=None), seed=0)
