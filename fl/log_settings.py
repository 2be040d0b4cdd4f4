"""The section [log]: what is written while a run goes."""

from __future__ import annotations

from urllib.parse import urlsplit

from pydantic import Field, field_validator

from fl.section import Section


class LogConfig(Section):
    """Checkpoints and trackers; `rounds.jsonl` is always written."""

    checkpoint_seconds: float = Field(
        default=1.0,
        ge=0.0,
        description="a run keeps a checkpoint after a round if the one before is so "
        "many seconds old, and after its last round",
    )
    tensorboard: bool = Field(
        default=False,
        description="write the rounds for TensorBoard too, into the run's folder",
    )
    mlflow: str = Field(
        default="",
        description="log the rounds to this MLflow tracking URI too, e.g. "
        "sqlite:///mlflow.db; it may hold no password",
    )

    @field_validator("mlflow")
    @classmethod
    def _no_password(cls, uri: str) -> str:
        try:
            parts = urlsplit(uri)
        except ValueError as error:
            raise ValueError("is no URI; give one such as sqlite:///mlflow.db.") from (
                error
            )
        if parts.password is not None or parts.username is not None:
            raise ValueError(
                "holds a user or a password, which would be written into the run; give "
                "them as MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD."
            )
        return uri
