"""Local training: what clients do with their own records, many at once.

    train_stacked(model, members, recipe)   # all clients of a round as one batch
    train_private(model, members, ...)      # the same by DP-SGD
    engine_for(model, input_shape)          # which way the stack trains, and why

Nothing here encodes or masks.
"""

from fl.local.engine import Engine, engine_for
from fl.local.members import Member
from fl.local.optimiser import Rule
from fl.local.predict import evaluate, predict_logits
from fl.local.private import train_private
from fl.local.private_recipe import PrivateRecipe
from fl.local.recipe import Recipe, learning_rate_at, recipe_for
from fl.local.training import train_stacked

__all__ = [
    "Engine",
    "Member",
    "PrivateRecipe",
    "Recipe",
    "Rule",
    "engine_for",
    "evaluate",
    "learning_rate_at",
    "predict_logits",
    "recipe_for",
    "train_private",
    "train_stacked",
]
