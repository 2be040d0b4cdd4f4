"""Local training: what a client does with its own records, alone or many at once.

    train_local(model, x, y, ...)      # one client, in place: the plain loop
    train_stacked(model, members, ...) # many clients from one model, as one batch
    engine_for(model, input_shape)     # which way the stack trains, and why

Both compute the same changes. Nothing here clips, encodes or adds noise.
"""

from fl.local.engine import Engine, engine_for
from fl.local.loop import train_local
from fl.local.predict import evaluate, predict_logits
from fl.local.stack import Member, train_stacked

__all__ = [
    "Engine",
    "Member",
    "engine_for",
    "evaluate",
    "predict_logits",
    "train_local",
    "train_stacked",
]
