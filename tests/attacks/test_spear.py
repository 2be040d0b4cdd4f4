from dataclasses import replace

import pytest
import torch
from scipy.optimize import linear_sum_assignment
from torch import nn
from torch.nn import functional

from attacks import (
    Certificate,
    MissingKnowledge,
    ParameterError,
    Spear,
    with_random_gradient,
)
from attacks.inversion.spear_directions import (
    distinct_rows,
    from_descents,
    from_mixture,
    from_rows,
)
from attacks.inversion.spear_factor import factor
from attacks.inversion.spear_match import Choice, Layer, coefficient, repaired
from attacks.inversion.spear_pool import empty_pool, is_pinned
from attacks.inversion.spear_split import Budget, split


@pytest.fixture
def victim(net, observe, digits):
    """Observe `batch` random digits through a 64-m-m-10 network."""
    images, labels = digits

    def build(batch, *, m=200, seed=0, dtype=torch.float64, **known):
        model = net(hidden=(m, m), seed=seed, dtype=dtype)
        generator = torch.Generator().manual_seed(1000 + seed)
        some = torch.randperm(len(images), generator=generator)[:batch]
        return observe(model, images[some], labels[some], **known), images[some]

    return build


def run(observation, **options):
    return Spear(**options).run(observation, seed=0)


def errors(found, truth):
    """Return the largest error of each true record under the best assignment."""
    gaps = (found[:, None].flatten(2) - truth[None].flatten(2)).abs().amax(dim=2)
    rows, columns = linear_sum_assignment(gaps.numpy())
    return gaps[rows, columns]


@pytest.mark.parametrize("batch", [1, 2, 3, 4, 5, 6])
def test_every_record_of_a_small_batch_is_exact_and_certified(victim, batch):
    seen, truth = victim(batch, seed=batch)
    found = run(seen)
    assert found.certificate is Certificate.CERTIFIED, found.reason
    assert found.objective == 0.0
    assert len(found.inputs) == batch
    assert float(errors(found.inputs, truth).max()) <= 1e-8


def test_twelve_records_are_exact_and_bring_their_labels(victim, digits):
    seen, truth = victim(12, seed=1)
    found = run(seen)
    assert found.certificate is Certificate.CERTIFIED, found.reason
    gaps = (found.inputs[:, None] - truth[None]).abs().amax((2, 3, 4))
    rows, columns = linear_sum_assignment(gaps.numpy())
    assert float(gaps[rows, columns].max()) <= 1e-8
    images, labels = digits
    true = [int(labels[(images == one).all(dim=(1, 2, 3))][0]) for one in truth]
    assert [int(found.labels[i]) for i in rows] == [true[j] for j in columns]


def test_the_search_of_the_paper_finds_six_records_as_well(victim):
    seen, truth = victim(6, seed=3)
    found = run(seen, descents=False, draws=2**16)
    assert found.certificate is Certificate.CERTIFIED, found.reason
    assert float(errors(found.inputs, truth).max()) <= 1e-8


def test_the_sum_of_clients_is_a_batch_of_all_their_records(victim):
    seen, truth = victim(6)
    summed = replace(seen, batch_size=2, clients_summed=3)
    found = run(summed)
    assert found.certificate is Certificate.CERTIFIED, found.reason
    assert float(errors(found.inputs, truth).max()) <= 1e-8


def test_clipping_does_not_cost_the_certificate(victim):
    seen, truth = victim(4)
    clipped = {name: 0.01 * g for name, g in seen.gradient.items()}
    found = run(replace(seen, gradient=clipped))
    assert found.certificate is Certificate.CERTIFIED, found.reason
    assert float(errors(found.inputs, truth).max()) <= 1e-8


def test_the_same_seed_gives_the_same_answer(victim):
    seen, _ = victim(5)
    assert torch.equal(run(seen).inputs, run(seen).inputs)


def test_float32_updates_are_certified_too(victim):
    seen, truth = victim(4, dtype=torch.float32)
    found = run(seen)
    assert found.certificate is Certificate.CERTIFIED, found.reason
    assert found.inputs.dtype == torch.float32
    assert float(errors(found.inputs.double(), truth).max()) <= 1e-3


@pytest.mark.parametrize("unknown", ["batch_size", "steps"])
def test_an_unknown_premise_costs_the_certificate_not_the_records(victim, unknown):
    seen, truth = victim(4)
    found = run(replace(seen, **{unknown: None}))
    assert found.certificate is Certificate.UNCERTIFIED
    assert found.objective == 0.0
    assert float(errors(found.inputs, truth).max()) <= 1e-8


def test_a_repeated_record_is_found_once_and_not_certified(net, observe, digits):
    images, labels = digits
    some = [3, 3, 8]
    found = run(observe(net(hidden=(200, 200)), images[some], labels[some]))
    assert found.certificate is not Certificate.CERTIFIED
    assert len(found.inputs) == 2
    assert float(errors(found.inputs, images[[3, 8]]).max()) <= 1e-8


def test_merged_records_pass_every_check_but_the_known_number(net, observe, digits):
    """Two classes, one label, units that agree: rank one, coefficient 1, replay 0."""
    images, labels = digits
    two = torch.nonzero(labels == 0).flatten()[:2]
    model = net(hidden=(64,), classes=2)
    with torch.no_grad():
        model[1].bias.copy_(torch.where(torch.arange(64) % 2 == 0, 99.0, -99.0))
    seen = observe(model, images[two], labels[two], classes=2)
    for told in (seen, replace(seen, batch_size=None)):
        found = run(told)
        assert found.objective == 0.0
        assert found.certificate is Certificate.UNCERTIFIED
        assert float((found.inputs - images[two]).abs().amax((1, 2, 3)).min()) > 0.1


def test_two_local_steps_on_new_records_are_found_but_not_certified(
    net, observe, digits
):
    images, labels = digits
    model = net(hidden=(200, 200))
    first = observe(model, images[:2], labels[:2])
    moved = net(hidden=(200, 200))
    with torch.no_grad():
        for name, weight in moved.named_parameters():
            weight -= 0.01 * first.gradient[name]
    second = observe(moved, images[2:4], labels[2:4])
    both = {n: (g + second.gradient[n]) / 2 for n, g in first.gradient.items()}
    found = run(replace(first, gradient=both, steps=2))
    assert found.certificate is Certificate.UNCERTIFIED
    assert float(errors(found.inputs, images[:4]).max()) <= 1e-6


def test_noise_is_refused_with_the_rank_as_the_reason(victim):
    seen, _ = victim(4)
    noise = with_random_gradient(seen, seed=0).gradient
    noisy = {name: g + 0.1 * noise[name] for name, g in seen.gradient.items()}
    for told in (seen, replace(seen, batch_size=None)):
        found = run(replace(told, gradient=noisy))
        assert found.certificate is Certificate.REFUSED
        assert "rank" in found.reason
        assert found.inputs.shape == (0, 1, 8, 8)


def test_a_little_noise_costs_the_certificate(victim):
    seen, _ = victim(4)
    noise = with_random_gradient(seen, seed=0).gradient
    noisy = {name: g + 1e-4 * noise[name] for name, g in seen.gradient.items()}
    found = run(replace(seen, gradient=noisy), draws=2**11)
    assert found.certificate is not Certificate.CERTIFIED


def test_more_records_than_the_layer_tells_apart_are_refused(victim):
    seen, _ = victim(80)
    for told in (seen, replace(seen, batch_size=None)):
        found = run(told)
        assert found.certificate is Certificate.REFUSED
        assert "rank" in found.reason


def test_a_search_that_fails_says_how_far_it_came(victim):
    seen, _ = victim(12)
    found = run(seen, descents=False, draws=64)
    assert found.certificate is not Certificate.CERTIFIED
    assert "of 12 directions" in found.reason or "coefficient" in found.reason


def test_batches_beyond_the_limit_are_refused(victim):
    seen, _ = victim(4)
    found = run(seen, max_records=3)
    assert found.certificate is Certificate.REFUSED
    assert "more than 3" in found.reason


class _FunctionalRelu(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(64, 200)
        self.last = nn.Linear(200, 10)

    def forward(self, x):
        return self.last(functional.relu(self.first(x.flatten(1)), inplace=True))


def test_a_relu_is_recognised_however_it_is_spelled(observe, digits):
    images, labels = digits
    torch.manual_seed(0)
    found = run(observe(_FunctionalRelu().double(), images[:3], labels[:3]))
    assert found.certificate is Certificate.CERTIFIED, found.reason
    assert float(errors(found.inputs, images[:3]).max()) <= 1e-8


@pytest.mark.parametrize("act", [nn.GELU, nn.LeakyReLU, nn.Sigmoid, nn.Identity])
def test_a_layer_without_a_relu_is_refused(net, observe, digits, act):
    images, labels = digits
    found = run(observe(net(act=act), images[:2], labels[:2]))
    assert found.certificate is Certificate.REFUSED
    assert "ReLU" in found.reason


@pytest.mark.parametrize("kind", ["noise", "constant", "sign", "other head", "negated"])
def test_garbage_is_finite_and_never_certified(victim, kind):
    seen, _ = victim(3)
    gradient = dict(seen.gradient)
    if kind == "noise":
        gradient = with_random_gradient(seen, seed=1).gradient
    elif kind == "constant":
        gradient = {name: torch.ones_like(g) for name, g in gradient.items()}
    elif kind == "sign":
        gradient = {name: g.sign() for name, g in gradient.items()}
    elif kind == "negated":
        gradient = {name: -g for name, g in gradient.items()}
    else:
        gradient["5.weight"] = -gradient["5.weight"]
    found = run(replace(seen, gradient=gradient), draws=2**11)
    assert found.certificate is not Certificate.CERTIFIED
    assert bool(found.inputs.isfinite().all())


@pytest.mark.parametrize("value", [float("nan"), 0.0])
def test_a_gradient_without_information_is_refused(victim, value):
    seen, _ = victim(2)
    empty = {name: torch.full_like(g, value) for name, g in seen.gradient.items()}
    assert run(replace(seen, gradient=empty)).certificate is Certificate.REFUSED


def test_an_observation_without_a_gradient_is_an_error(victim):
    seen, _ = victim(2)
    with pytest.raises(MissingKnowledge):
        run(replace(seen, gradient=None))


def test_labels_and_truth_are_not_read(victim, digits):
    """The labels that the attack returns are its own: a wrong hint changes nothing."""
    seen, _ = victim(3)
    lied = replace(seen, labels=torch.zeros(3, dtype=torch.int64))
    assert torch.equal(run(lied).labels, run(seen).labels)


@pytest.mark.parametrize("wrong", [{"draws": 0}, {"max_records": 0}, {"seconds": 0.0}])
def test_a_budget_of_nothing_is_an_error(wrong):
    with pytest.raises(ParameterError):
        Spear(**wrong)


def test_any_layer_can_be_split_and_yields_its_inputs(victim):
    """The second layer: what comes back are the first layer's activations."""
    seen, truth = victim(3)
    model = seen.model
    middle = model[3]
    found, _ = split(
        seen.gradient["3.weight"],
        seen.gradient["3.bias"],
        Layer(middle.weight.detach(), middle.bias.detach()),
        records=3,
        rounding=1e-11,
        most_records=8,
        budget=Budget(draws=4096),
        seed=0,
    )
    hidden = model[:3](truth).detach()
    assert found is not None and found.coefficient == 1
    assert float(errors(found.inputs, hidden).max()) <= 1e-8


def test_a_swap_mends_a_choice_with_one_wrong_direction(victim):
    """Replace a true direction by a mixture; only the coefficient can tell."""
    seen, _ = victim(4)
    weight, bias = seen.model[1].weight.detach(), seen.model[1].bias.detach()
    gradient = seen.gradient["1.weight"], seen.gradient["1.bias"]
    factors, _ = factor(*gradient, records=4, rounding=1e-11)
    layer = Layer(weight, bias)
    generator = torch.Generator().manual_seed(0)
    proposals = from_rows(factors.rows, 4096, generator)
    pool = empty_pool(factors.rows).added(proposals, factors.rows, factors.zero)
    good = [0, 1, 2, 3]
    assert coefficient(factors, layer, pool, good) == 1
    assert len(pool.directions) > 4
    spoiled = [0, 1, 2, 4]
    before = coefficient(factors, layer, pool, spoiled)
    assert before < 1
    mended = repaired(factors, layer, pool, Choice(spoiled, before))
    assert mended.coefficient == 1 and sorted(mended.indices) == good


def sparse_columns(rows, columns, seed):
    """Return whitened rows of a random half-empty matrix, and its true directions."""
    generator = torch.Generator().manual_seed(seed)
    dense = torch.randn((rows, columns), generator=generator, dtype=torch.float64)
    on = torch.rand((rows, columns), generator=generator) < 0.5
    white, change = torch.linalg.qr(dense * on)
    true = change @ torch.eye(columns, dtype=torch.float64)
    return white * rows**0.5, (true / true.norm(dim=0)).T


@pytest.mark.parametrize("propose", [from_rows, from_descents])
def test_proposals_hit_the_columns_of_a_half_empty_matrix(propose):
    rows, true = sparse_columns(120, 5, seed=0)
    found = propose(rows, 512, torch.Generator().manual_seed(0))
    found = found[found.isfinite().all(dim=1)]
    assert bool(((found @ true.T).abs().amax(dim=0) > 1 - 1e-8).all())


def test_columns_are_pinned_and_mixtures_are_not_but_yield_their_parts():
    rows, true = sparse_columns(120, 5, seed=1)
    for unit in true:
        assert is_pinned((rows @ unit).abs() < 1e-9, rows)
    mixture = true[0] + 0.7 * true[1]
    zeros = (rows @ mixture).abs() < 1e-9
    assert not is_pinned(zeros, rows)
    parts = from_mixture(zeros, rows, 64, torch.Generator().manual_seed(0))
    assert bool(((parts @ true[:2].T).abs().amax(dim=0) > 1 - 1e-8).all())


def test_a_mixture_with_too_few_other_rows_yields_nothing():
    rows, true = sparse_columns(120, 5, seed=1)
    zeros = (rows @ (true[0] + true[1])).abs() < 1e-9
    parts = from_mixture(zeros[zeros], rows[zeros], 8, torch.Generator())
    assert parts.shape == (0, 5)


@pytest.mark.parametrize("batch", [2, 3])
def test_two_classes_behind_one_layer_are_told_apart_by_the_coefficient(
    net, observe, digits, batch
):
    """Every dZ_i is then the same vector, masked: differences are the sparsest."""
    images, labels = digits
    model = net(hidden=(200,), classes=2)
    seen = observe(model, images[:batch], labels[:batch] % 2, classes=2)
    found = run(seen, draws=2048)
    assert found.certificate is Certificate.CERTIFIED, found.reason
    assert float(errors(found.inputs, images[:batch]).max()) <= 1e-8


def test_rows_that_say_the_same_are_drawn_once():
    rows = torch.tensor([[1.0, 2.0], [0.0, 1.0], [-2.0, -4.0], [1.0, 0.0]])
    assert distinct_rows(rows.double()).tolist() == rows[[0, 1, 3]].tolist()
