"""The stages of an audit, one module each: what is run, in which order, for whom.

Every stage takes the `Setting` and adds what it measured to the `Evidence`; only whole
results are added, so that Ctrl-C in a stage loses nothing that was complete.
"""

from fl.stages.setting import Setting

__all__ = ["Setting"]
