"""DAGER on a small decoder: whole batches of tokens, or a reason."""

import copy
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional

from attacks import (
    DAGER,
    Adversary,
    Certificate,
    LinearInversion,
    Observation,
    ObservationError,
    ParameterError,
    with_random_gradient,
)
from attacks.inversion.sequences import off_span, span_of


class _Block(nn.Module):
    def __init__(self, width: int, heads: int, causal: bool) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x):
        q, k, v = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in self.qkv(self.norms[0](x)).chunk(3, dim=-1)
        )
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        return x + self.down(functional.gelu(self.up(self.norms[1](x))))


class _Decoder(nn.Module):
    """GPT in small: learned positions, pre-norm blocks, an untied output layer."""

    def __init__(
        self, *, vocabulary=65, width=64, length=12, classes=None, causal=True
    ) -> None:
        super().__init__()
        self.token = nn.Embedding(vocabulary, width)
        self.position = nn.Embedding(length, width)
        self.blocks = nn.ModuleList(_Block(width, 4, causal) for _ in range(2))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes or vocabulary, bias=False)
        self.pooled = classes is not None

    def forward(self, x):
        y = self.token(x) + self.position.weight[: x.shape[1]]
        for block in self.blocks:
            y = block(y)
        y = self.norm(y)
        return self.head(y[:, -1] if self.pooled else y)


def watch(model, sequences, labels, *, clients=1) -> Observation:
    """Observe one honest step on token sequences."""
    logits = model(sequences)
    targets = labels
    if logits.dim() == 3:
        targets = torch.cat([sequences[:, 1:], labels[:, None]], dim=1).flatten()
        logits = logits.flatten(0, 1)
    names, weights = zip(*model.named_parameters(), strict=True)
    grads = torch.autograd.grad(functional.cross_entropy(logits, targets), weights)
    return Observation(
        adversary=Adversary.SERVER,
        view="one client's update",
        model=model,
        gradient=dict(zip(names, grads, strict=True)),
        batch_size=len(sequences) // clients,
        steps=1,
        labels=None,
        input_shape=(sequences.shape[1],),
        classes=model.head.out_features,
        value_range=None,
        clients_summed=clients,
        tokens=model.token.num_embeddings,
    )


Draw = Callable[..., tuple[torch.Tensor, torch.Tensor]]


@pytest.fixture
def draw() -> Draw:
    def some(count, length=12, *, vocabulary=65, classes=65, seed=0):
        generator = torch.Generator().manual_seed(seed)
        sequences = torch.randint(0, vocabulary, (count, length), generator=generator)
        return sequences, torch.randint(0, classes, (count,), generator=generator)

    return some


def decoder(**settings):
    torch.manual_seed(0)
    return _Decoder(**settings).double()


def as_set(sequences):
    return {tuple(row) for row in sequences.tolist()}


@pytest.mark.parametrize("width", [16, 64])
def test_the_span_holds_the_tokens_of_the_batch_and_no_other(width):
    """The core of the attack on random embeddings, at every size below the width."""
    generator = torch.Generator().manual_seed(width)
    table = torch.randn((300, width), generator=generator, dtype=torch.float64)
    for count in (1, width // 2, width - 1):
        present = torch.randperm(300, generator=generator)[:count]
        deltas = torch.randn((count, 40 + width), generator=generator).double()
        basis = span_of(deltas.T @ table[present], cut=1e-13)
        assert len(basis) == count
        inside = (off_span(basis, table) <= 1e-8).nonzero().flatten()
        assert set(inside.tolist()) == set(present.tolist())


@pytest.mark.parametrize("count", [1, 4])
def test_a_decoder_gives_all_its_sequences(draw, count):
    sequences, labels = draw(count)
    found = DAGER().run(watch(decoder(), sequences, labels), seed=0)
    assert found.certificate is Certificate.CERTIFIED, found.reason
    assert as_set(found.inputs) == as_set(sequences)
    order = [found.inputs.tolist().index(row) for row in sequences.tolist()]
    assert torch.equal(found.labels[order], labels)


def test_a_sequence_classifier_gives_sequences_and_classes(draw):
    sequences, labels = draw(3, classes=2)
    found = DAGER().run(watch(decoder(classes=2), sequences, labels), seed=0)
    assert found.certificate is Certificate.CERTIFIED, found.reason
    assert as_set(found.inputs) == as_set(sequences)
    order = [found.inputs.tolist().index(row) for row in sequences.tolist()]
    assert torch.equal(found.labels[order], labels)


def test_as_many_tokens_as_dimensions_are_refused(draw):
    sequences, labels = draw(6)  # 72 tokens, 64 dimensions
    found = DAGER().run(watch(decoder(), sequences, labels), seed=0)
    assert found.certificate is Certificate.REFUSED
    assert "too many tokens" in found.reason and found.inputs.shape == (0, 12)


def test_clients_summed_are_one_larger_batch(draw):
    sequences, labels = draw(2)
    seen = watch(decoder(), sequences, labels, clients=2)
    found = DAGER().run(seen, seed=0)
    assert as_set(found.inputs) == as_set(sequences)


def test_an_encoder_gives_one_record_and_refuses_two(draw):
    model = decoder(classes=2, causal=False)
    sequences, labels = draw(2, classes=2)
    found = DAGER().run(watch(model, sequences[:1], labels[:1]), seed=0)
    assert found.certificate is Certificate.CERTIFIED, found.reason
    assert torch.equal(found.inputs, sequences[:1])
    found = DAGER().run(watch(model, sequences, labels), seed=0)
    assert found.certificate is Certificate.REFUSED and "encoder" in found.reason


def test_noise_and_masks_are_never_certified(draw):
    sequences, labels = draw(2)
    seen = watch(decoder(), sequences, labels)
    noise = with_random_gradient(seen, seed=1).gradient
    for strength in (1e-9, 1e-3, 1e6):
        noisy = {n: g + strength * noise[n] for n, g in seen.gradient.items()}
        found = DAGER().run(replace(seen, gradient=noisy), seed=0)
        assert found.certificate is not Certificate.CERTIFIED


def test_a_foreign_output_layer_costs_the_certificate(draw):
    sequences, labels = draw(2)
    seen = watch(decoder(), sequences, labels)
    gradient = dict(seen.gradient)
    gradient["head.weight"] = 2 * gradient["head.weight"]
    found = DAGER().run(replace(seen, gradient=gradient), seed=0)
    assert found.certificate is Certificate.UNCERTIFIED
    assert "whole classes" in found.reason


def test_several_local_steps_give_text_without_a_certificate(draw):
    sequences, labels = draw(2)
    model = decoder()
    seen = watch(model, sequences, labels)
    moved = copy.deepcopy(model)
    total = {name: torch.zeros_like(g) for name, g in seen.gradient.items()}
    for _ in range(3):
        step = watch(moved, sequences, labels).gradient
        for name, weight in moved.named_parameters():
            weight.data -= 1e-6 * step[name]
            total[name] += step[name] / 3
    found = DAGER().run(replace(seen, gradient=total, steps=3), seed=0)
    assert found.certificate is Certificate.UNCERTIFIED, found.reason
    assert as_set(found.inputs) == as_set(sequences)


@pytest.mark.parametrize("unknown", ["batch_size", "steps"])
def test_an_unknown_premise_costs_the_certificate_not_the_text(draw, unknown):
    sequences, labels = draw(2)
    seen = replace(watch(decoder(), sequences, labels), **{unknown: None})
    found = DAGER().run(seen, seed=0)
    assert found.certificate is Certificate.UNCERTIFIED
    assert as_set(found.inputs) == as_set(sequences)


def test_two_equal_records_are_not_certified(draw):
    sequences, labels = draw(1)
    seen = watch(decoder(), sequences.repeat(2, 1), labels.repeat(2))
    found = DAGER().run(seen, seed=0)
    assert found.certificate is Certificate.UNCERTIFIED
    assert torch.equal(found.inputs, sequences)


@pytest.mark.parametrize("value", [0.0, float("nan")])
def test_a_gradient_without_information_is_refused(draw, value):
    seen = watch(decoder(), *draw(1))
    empty = {name: torch.full_like(g, value) for name, g in seen.gradient.items()}
    found = DAGER().run(replace(seen, gradient=empty), seed=0)
    assert found.certificate is Certificate.REFUSED


def test_the_same_seed_gives_the_same_answer(draw):
    seen = watch(decoder(), *draw(2))
    first, second = DAGER().run(seen, seed=3), DAGER().run(seen, seed=3)
    assert torch.equal(first.inputs, second.inputs)


def test_attacks_on_numbers_say_that_tokens_are_none(draw):
    seen = watch(decoder(), *draw(1))
    with pytest.raises(ParameterError, match="use DAGER"):
        LinearInversion().run(seen, seed=0)
    with pytest.raises(ObservationError):
        replace(seen, tokens=1)
    with pytest.raises(ParameterError):
        DAGER(max_prefixes=0)
