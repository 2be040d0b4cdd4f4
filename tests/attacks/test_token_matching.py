"""Token matching on a small classifier of sequences: above chance, or a reason."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional

from attacks import (
    Adversary,
    Certificate,
    MissingKnowledge,
    Observation,
    ParameterError,
    TokenMatching,
    with_random_gradient,
)

TOKENS, LENGTH, WIDTH = 40, 6, 16


class _Classifier(nn.Module):
    """Tokens and positions, one causal attention, and the last place's class."""

    def __init__(self, *, pooled: bool = True) -> None:
        super().__init__()
        self.token = nn.Embedding(TOKENS, WIDTH)
        self.position = nn.Embedding(LENGTH, WIDTH)
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 32), nn.Linear(32, WIDTH)
        self.head = nn.Linear(WIDTH, 4)
        self.pooled = pooled

    def forward(self, x):
        y = self.token(x) + self.position.weight
        q, k, v = self.qkv(y).chunk(3, dim=-1)
        y = y + functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        y = y + self.down(torch.tanh(self.up(y)))
        return self.head(y[:, -1] if self.pooled else y)


def watch(count=1, *, seed=0, with_table=True, pooled=True):
    """Return one honest step on drawn sequences, and the sequences."""
    torch.manual_seed(0)
    model = _Classifier(pooled=pooled)
    draw = torch.Generator().manual_seed(seed)
    sequences = torch.randint(0, TOKENS, (count, LENGTH), generator=draw)
    labels = torch.randint(0, 4, (count,), generator=draw)
    logits = model(sequences)
    loss = functional.cross_entropy(logits if pooled else logits[:, -1], labels)
    names, weights = zip(*model.named_parameters(), strict=True)
    gradient = dict(zip(names, torch.autograd.grad(loss, weights), strict=True))
    if not with_table:
        del gradient["token.weight"]
    seen = Observation(
        adversary=Adversary.SERVER,
        view="one client's update",
        model=model,
        gradient=gradient,
        batch_size=count,
        steps=1,
        labels=labels,
        input_shape=(LENGTH,),
        classes=4,
        value_range=None,
        tokens=TOKENS,
    )
    return seen, sequences


def accuracy(attack, *, blind=False, **settings):
    """Return the fraction of places of four victims that hold the right token."""
    right = []
    for seed in range(4):
        seen, truth = watch(seed=seed, **settings)
        if blind:
            seen = with_random_gradient(seen, seed=seed)
        found = attack.run(seen, seed=seed)
        right.append((found.inputs == truth).double().mean())
    return float(torch.stack(right).mean())


ATTACK = TokenMatching(iterations=60, restarts=2, moves=12)


def test_tokens_come_back_far_above_chance():
    # Who knows the tokens but not their order has one place in six right.
    assert accuracy(ATTACK) > 0.5


def test_a_random_gradient_gives_chance():
    attack = TokenMatching(iterations=20, restarts=2, moves=5)
    assert accuracy(attack, blind=True) < 5 / TOKENS


def test_moves_never_make_the_match_worse_and_the_objective_is_that_of_the_tokens():
    seen, _ = watch(2)
    settings = {"iterations": 10, "restarts": 2}
    before, after = (
        TokenMatching(**settings, moves=m).run(seen, seed=3) for m in (0, 9)
    )
    assert after.objective <= before.objective
    loss = functional.cross_entropy(seen.model(after.inputs), seen.labels)
    names = [name for name in seen.gradient if name != "token.weight"]
    weights = dict(seen.model.named_parameters())
    grads = torch.autograd.grad(loss, [weights[name] for name in names])
    mine = torch.cat([g.flatten() for g in grads])
    target = torch.cat([seen.gradient[name].flatten() for name in names])
    cosine = float(mine @ target / (mine.norm() * target.norm()))
    assert after.objective == pytest.approx(1 - cosine, abs=1e-5)
    again = TokenMatching(**settings, moves=9).run(seen, seed=3)
    assert torch.equal(after.inputs, again.inputs)


def test_only_tokens_with_a_gradient_come_in():
    seen, truth = watch(2)
    found = TokenMatching(iterations=2, restarts=1, moves=3).run(seen, seed=0)
    assert set(found.inputs.flatten().tolist()) <= set(truth.flatten().tolist())


def test_what_cannot_be_matched_is_refused():
    attack = TokenMatching(iterations=2)
    found = attack.run(watch(pooled=False)[0], seed=0)
    assert found.certificate is Certificate.REFUSED and "DAGER" in found.reason
    seen, _ = watch()
    zero = {name: g * 0 for name, g in seen.gradient.items()}
    found = attack.run(replace(seen, gradient=zero), seed=0)
    assert found.certificate is Certificate.REFUSED
    with pytest.raises(MissingKnowledge):
        attack.run(replace(seen, labels=None), seed=0)
    with pytest.raises(ParameterError):
        TokenMatching(moves=-1)
