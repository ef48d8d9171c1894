"""What a sweep shows in the Prefect UI: progress, the leaderboard as text and table, and the plots."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence

from isaaclab_flows.schemas.sweep import SweepConfig
from isaaclab_flows.tasks.show.artifact_writer import ArtifactWriter
from isaaclab_flows.tasks.show.artifacts import data_uri
from isaaclab_flows.tasks.sweep.groups import Evaluated
from isaaclab_flows.tasks.sweep.leaderboard import Board, markdown, table
from isaaclab_flows.tasks.sweep.plan import SweepPlan
from isaaclab_flows.tasks.sweep.plot import draw_over_iterations
from isaaclab_flows.tasks.sweep.store import SweepStore

REGRESSION_EVENT = "isaaclab-flows.sweep.regression"


class SweepReport:
    """The artifacts of one sweep, kept up to date.

    Args:
        config: The sweep.
        planned: Its evaluations.
        logger: For a line a group.
    """

    def __init__(
        self, config: SweepConfig, planned: SweepPlan, logger: logging.Logger | logging.LoggerAdapter[logging.Logger]
    ) -> None:
        self._config = config
        self._new = planned.new
        self.done = Evaluated(())
        """What the groups so far have given."""
        self._logger = logger
        # Keys are the sweep's, not the run's: the UI's page of a key then shows how it changed from night to night.
        self._artifacts = ArtifactWriter(config.folder.replace("_", "-").replace(".", "-"), logger)
        self._progress()

    def finished(self, found: Evaluated) -> None:
        """Count a group's evaluations, and say which have no result."""
        self.done += found
        failed = [row for row in found.rows if row.error_kind]
        self._logger.info("%d of %d new evaluations are done", len(self.done.rows), self._new)
        for row in failed[:5]:
            self._logger.warning("%s was not evaluated: %s", row.checkpoint.rpartition("/")[2], row.error)
        if len(failed) > 5:
            self._logger.warning("… and %d more; results.csv has every reason", len(failed) - 5)
        self._progress()

    def conclude(self, ranked: Sequence[Board], store: SweepStore) -> None:
        """Write the leaderboard and the plots as files and show them."""
        text, rows = markdown(ranked, name=self._config.name), table(ranked)
        store.write_leaderboard(text, rows)
        self._artifacts.put("leaderboard", "markdown", text, f"Leaderboard of {self._config.name}")
        self._artifacts.put("results", "table", json.dumps(rows[:1000]), "Ranked checkpoints")
        for board in ranked:
            self._logger.info("%s: %s", board.task, board.statement)
            picture = draw_over_iterations(board)
            if picture is not None:
                store.write_picture(board.task, picture)
                name = f"iterations-{board.task.lower()}"
                self._artifacts.put(name, "image", data_uri(picture), f"{board.task} over training iterations")
        self._artifacts.put("sweep-progress", "progress", 100.0, "Done")
        self._artifacts.flush()

    def emit_regression(self, sentence: str, results_uri: str) -> None:
        """Emit the Prefect event that an automation can turn into a message."""
        from prefect.events import emit_event

        emit_event(
            REGRESSION_EVENT,
            resource={
                "prefect.resource.id": f"isaaclab-flows.sweep.{self._config.folder}",
                "prefect.resource.name": self._config.name,
            },
            payload={"sentence": sentence, "results": results_uri},
        )

    def _progress(self) -> None:
        done = len(self.done.rows)
        percent = 100.0 * done / self._new if self._new else 100.0
        text = f"{done} of {self._new} new evaluations"
        self._artifacts.put("sweep-progress", "progress", round(percent, 1), text)
