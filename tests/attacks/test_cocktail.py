from dataclasses import replace

import pytest
import torch
from scipy.optimize import linear_sum_assignment
from torch import nn

from attacks import Certificate, CocktailParty, MissingKnowledge, ParameterError
from attacks.inversion.cocktail import negentropy, whiten


@pytest.fixture
def party(observe):
    """Observe `batch` records of independent draws through an n-100-10 network."""

    def build(kind, batch, length=1500, *, act=nn.ReLU, **known):
        generator = torch.Generator().manual_seed(batch)
        draws = torch.rand((batch, length), generator=generator, dtype=torch.float64)
        if kind == "laplace":
            centred = draws - 0.5
            draws = -centred.sign() * (1 - 2 * centred.abs()).log()
        torch.manual_seed(batch)
        model = nn.Sequential(nn.Linear(length, 100), act(), nn.Linear(100, 10))
        labels = torch.arange(batch) % 10
        known = {"value_range": None, **known}
        return observe(model.double(), draws, labels, **known), draws

    return build


def likeness(found, truth):
    """Return |correlation| of each true record with its own candidate."""
    both = torch.corrcoef(torch.cat([found.flatten(1), truth.flatten(1)]))
    between = both[: len(found), len(found) :].abs()
    rows, columns = linear_sum_assignment(-between.numpy())
    return between[rows, columns]


@pytest.mark.parametrize("kind", ["uniform", "laplace"])
@pytest.mark.parametrize("act", [nn.ReLU, nn.GELU])
def test_independent_records_come_out_one_by_one(party, kind, act):
    seen, truth = party(kind, 6, act=act)
    found = CocktailParty().run(seen, seed=0)
    assert len(found.inputs) == 6
    assert float(likeness(found.inputs, truth).min()) > 0.99
    assert found.certificate is Certificate.UNCERTIFIED


def test_sign_and_scale_follow_from_the_bias_gradient(party):
    seen, truth = party("uniform", 4, 4000)
    found = CocktailParty().run(seen, seed=0).inputs
    gaps = (found[:, None] - truth[None]).abs().mean(dim=2)
    assert float(gaps.amin(dim=0).max()) < 0.05  # the entries spread over [0, 1]


def test_gaussian_records_stay_mixed(observe):
    """The null of the method: ICA has nothing to go by."""
    generator = torch.Generator().manual_seed(0)
    draws = torch.randn((6, 1500), generator=generator, dtype=torch.float64)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(1500, 100), nn.ReLU(), nn.Linear(100, 10))
    seen = observe(model.double(), draws, torch.arange(6), value_range=None)
    found = CocktailParty().run(seen, seed=0)
    assert float(likeness(found.inputs, draws).median()) < 0.95


def test_the_sum_of_clients_is_one_party(party):
    seen, truth = party("laplace", 8)
    summed = replace(seen, batch_size=2, clients_summed=4)
    found = CocktailParty().run(summed, seed=0)
    assert len(found.inputs) == 8
    assert float(likeness(found.inputs, truth).min()) > 0.98


def test_the_rank_tells_how_many_there_are(party):
    seen, truth = party("uniform", 5, knows_batch=False)
    found = CocktailParty().run(seen, seed=0)
    assert len(found.inputs) == 5
    assert float(likeness(found.inputs, truth).min()) > 0.99


def test_images_are_told_apart_by_their_contrasts(observe):
    """Blocks on a common bright background: alike as images, not in their edges."""
    generator = torch.Generator().manual_seed(0)
    images = torch.full((5, 1, 32, 32), 0.2, dtype=torch.float64)
    for image in images:
        for _ in range(6):
            row, column = torch.randint(0, 24, (2,), generator=generator).tolist()
            image[0, row : row + 8, column : column + 8] += 0.12
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(1024, 100), nn.ReLU())
    model.append(nn.Linear(100, 10)).double()
    seen = observe(model, images, torch.arange(5))
    as_image = CocktailParty().run(seen, seed=0).inputs
    flat = replace(seen, input_shape=(1024,))
    as_row = CocktailParty().run(flat, seed=0).inputs
    assert float(likeness(as_image, images).median()) > 0.97
    assert float(likeness(as_row, images).median()) < 0.97


def test_answers_stay_in_the_known_range_and_are_finite(party):
    seen, _ = party("uniform", 5, value_range=(0.0, 1.0))
    found = CocktailParty(iterations=1).run(seen, seed=0).inputs
    assert bool(found.isfinite().all())
    assert 0 <= float(found.min()) and float(found.max()) <= 1


def test_the_same_seed_gives_the_same_answer(party):
    seen, _ = party("laplace", 4)
    once, again = (CocktailParty().run(seen, seed=3).inputs for _ in range(2))
    assert torch.equal(once, again)


def test_records_shorter_than_their_number_are_refused(party):
    seen, _ = party("uniform", 20, 12)
    found = CocktailParty().run(seen, seed=0)
    assert found.certificate is Certificate.REFUSED
    assert "too short" in found.reason


@pytest.mark.parametrize("value", [float("nan"), 0.0])
def test_a_gradient_without_information_is_refused(party, value):
    seen, _ = party("uniform", 3)
    empty = {name: torch.full_like(g, value) for name, g in seen.gradient.items()}
    found = CocktailParty().run(replace(seen, gradient=empty), seed=0)
    assert found.certificate is Certificate.REFUSED


def test_an_observation_without_a_gradient_is_an_error(party):
    seen, _ = party("uniform", 3)
    with pytest.raises(MissingKnowledge):
        CocktailParty().run(replace(seen, gradient=None), seed=0)


@pytest.mark.parametrize("wrong", [{"iterations": 0}, {"max_records": 0}])
def test_a_budget_of_nothing_is_an_error(wrong):
    with pytest.raises(ParameterError):
        CocktailParty(**wrong)


def test_negentropy_is_zero_for_gaussians_alone():
    generator = torch.Generator().manual_seed(0)
    normal = torch.randn((1, 10**6), generator=generator, dtype=torch.float64)
    spread = torch.rand((1, 10**6), generator=generator, dtype=torch.float64)
    uniform = (spread - 0.5) * 12**0.5
    assert float(negentropy(normal)) < 1e-6
    assert float(negentropy(uniform)) > 1e-4


def test_whitening_leaves_unit_covariance():
    generator = torch.Generator().manual_seed(0)
    mixed = torch.randn((4, 300), generator=generator, dtype=torch.float64)
    mixed = torch.randn((4, 4), generator=generator, dtype=torch.float64) @ mixed
    white, unmix = whiten(mixed)
    assert torch.allclose(white @ white.T / 300, torch.eye(4).double(), atol=1e-10)
    centred = mixed - mixed.mean(dim=1, keepdim=True)
    assert torch.allclose(unmix @ centred, white, atol=1e-10)
