"""Rounds as MLflow runs: one per protection and seed, in one experiment per name.

A run that is gone on with is found again by the label that it was begun with, and gets
only the rounds that it lacks. MLflow's reports of who uses it are switched off.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping, Sequence

# Before the import, which would start it.
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"

from mlflow.entities import Metric, Param
from mlflow.tracking import MlflowClient

from fl.begun import Begun
from fl.errors import TrackingError
from fl.round_log import Line, scalars

EXPERIMENT = "blindsum"
LABEL = "blindsum.run"
# What the server takes in one call, and the longest value of a parameter.
PARAMS_MAX, VALUE_MAX, METRICS_MAX = 100, 500, 1000


class Runs:
    """Writes to a tracking server or database; a `fl.tracking.Tracker`."""

    def __init__(self, uri: str, begun: Begun, parameters: Mapping[str, str]) -> None:
        """Open ``uri``.

        Args:
            uri: of the tracking server or database.
            begun: the audit; by its label its runs are found again.
            parameters: of every run.

        Raises:
            TrackingError: it cannot be opened.
        """
        logging.getLogger("mlflow").setLevel(logging.WARNING)
        logging.getLogger("alembic").setLevel(logging.WARNING)
        self._begun, self._parameters = begun, parameters
        self._open: dict[tuple[str, int], tuple[str, set[int]]] = {}
        try:
            self._client = MlflowClient(tracking_uri=uri)
            found = self._client.get_experiment_by_name(EXPERIMENT)
            self._experiment = (
                self._client.create_experiment(EXPERIMENT)
                if found is None
                else found.experiment_id
            )
        except Exception as error:  # MLflow raises what its stores raise
            said = next(iter(str(error).splitlines()), "")
            raise TrackingError(
                f"log.mlflow cannot be opened ({type(error).__name__}: {said}); check "
                "the address, or leave it out."
            ) from error

    def write(self, protection: str, seed: int, lines: Sequence[Line]) -> None:
        """Log rounds of one run; the step is the number of the round, from 1."""
        run, known = self._run(protection, seed)
        now = int(time.time() * 1000)
        metrics = [
            Metric(name, value, now, line["index"] + 1)
            for line in lines
            if line["index"] + 1 not in known
            for name, value in scalars(line).items()
        ]
        for start in range(0, len(metrics), METRICS_MAX):
            self._client.log_batch(run, metrics[start : start + METRICS_MAX])
        known.update(line["index"] + 1 for line in lines)

    def close(self) -> None:
        """End all runs; those that lack rounds as killed."""
        rounds = self._begun.config.training.rounds
        for run, steps in self._open.values():
            status = "FINISHED" if rounds in steps else "KILLED"
            self._client.set_terminated(run, status)

    def _run(self, protection: str, seed: int) -> tuple[str, set[int]]:
        """Return the run's id and the steps that it has by now."""
        if (protection, seed) not in self._open:
            own = f"{protection}, seed {seed}"
            tags = {LABEL: f"{self._begun.label} {own}"}
            found = self._client.search_runs(
                [self._experiment], f"tags.`{LABEL}` = '{tags[LABEL]}'"
            )
            if found:
                run = found[0].info.run_id
                self._client.update_run(run, status="RUNNING")
                steps = {
                    one.step for one in self._client.get_metric_history(run, "loss")
                }
            else:
                title = f"{self._begun.config.name}: {own}"
                run = self._begin(title, tags, protection, seed)
                steps = set()
            self._open[protection, seed] = run, steps
        return self._open[protection, seed]

    def _begin(
        self, title: str, tags: Mapping[str, str], protection: str, seed: int
    ) -> str:
        made = self._client.create_run(
            self._experiment, tags=dict(tags), run_name=title
        )
        run: str = made.info.run_id
        told = {**self._parameters, "protection": protection, "run_seed": str(seed)}
        params = [Param(key, value[:VALUE_MAX]) for key, value in told.items()]
        for start in range(0, len(params), PARAMS_MAX):
            self._client.log_batch(run, params=params[start : start + PARAMS_MAX])
        return run
