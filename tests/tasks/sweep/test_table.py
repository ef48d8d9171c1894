"""The results' table: rows, reasons, and parts that lose nothing."""

from __future__ import annotations

import csv
import io
from dataclasses import fields, replace

from hypothesis import given
from hypothesis import strategies as st

from isaaclab_flows.schemas.errors import CheckpointError, ErrorRecord, SimulatorKilledError
from isaaclab_flows.schemas.outcome import EvaluationSummary, Interval, Outcome
from isaaclab_flows.tasks.sweep.plan import Candidate, Cell, Group, Setting
from isaaclab_flows.tasks.sweep.table import EpisodeValues, Row, from_parquet, put_together, rows_of, to_csv, to_parquet

SETTING = Setting("Isaac-Cartpole-Direct", "rsl_rl", 1, 8, "default", ("env.a=1", "env.b=2"))


def group(count: int) -> Group:
    cells = (Cell(Candidate(f"/r/checkpoints/model_{n}.pt", f"d{n}"), SETTING, f"key{n}") for n in range(count))
    return Group(SETTING, tuple(cells))


def outcome(*evaluations: EvaluationSummary, error: ErrorRecord | None = None) -> Outcome:
    return Outcome(
        job_id="job",
        kind="evaluation",
        status="failed" if error else "succeeded",
        task=SETTING.task,
        library="rsl_rl",
        error=error,
        evaluations=evaluations,
        output_uri="/out/job",
    )


def good(n: int) -> EvaluationSummary:
    return EvaluationSummary(
        checkpoint=f"model_{n}.pt",
        episodes=2,
        mean_return=float(n),
        mean_return_ci=Interval(low=n - 1, high=n + 1),
        success_rate=0.5,
    )


def rows(group: Group, outcome: Outcome, episodes: list[EpisodeValues] | None = None) -> list[Row]:
    return rows_of(group, outcome, num_episodes=1, steps_per_episode=9, episodes=episodes or [], evaluated_at=5.0)


def test_one_bad_checkpoint_is_one_row_with_its_reason() -> None:
    bad = EvaluationSummary(checkpoint="model_1.pt", error=ErrorRecord.of(CheckpointError("It is torn", where="x")))
    first, second, third = rows(group(3), outcome(good(0), bad, good(2)))
    assert (first.mean_return, first.error, third.mean_return) == (0.0, "", 2.0)
    assert (second.mean_return, second.error_kind, second.final) == (None, "checkpoint", True)
    assert "It is torn" in second.error


def test_a_job_that_failed_gives_the_reason_to_what_it_did_not_reach() -> None:
    killed = ErrorRecord.of(SimulatorKilledError("The simulator was ended by SIGSEGV"))
    first, second = rows(group(2), outcome(good(0), error=killed))
    assert first.error == ""
    assert second.error_kind == "simulator_killed"


def test_an_evaluation_that_nobody_reported_is_tried_again() -> None:
    (row,) = rows(group(1), outcome())
    assert row.error_kind == "outputs_missing"
    assert not row.final


def test_rows_survive_parquet_and_csv_has_all_but_the_episodes() -> None:
    made = rows(group(2), outcome(good(0), good(1)), [EpisodeValues((1.0, 2.0), (1.0, 0.0))])
    assert from_parquet(to_parquet(made)) == made
    read = list(csv.DictReader(io.StringIO(to_csv(made).decode())))
    assert read[1]["mean_return"] == "1.0"
    assert set(read[0]) == {f.name for f in fields(Row)} - {"returns", "successes"}


def test_a_part_of_an_older_version_reads_with_its_new_columns_empty() -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(pa.table({"key": ["k"], "checkpoint": ["c"], "gone": [1]}), buffer)
    (row,) = from_parquet(buffer.getvalue())
    assert (row.key, row.checkpoint, row.seed, row.returns) == ("k", "c", None, ())


BASE = rows(group(1), outcome(good(0)))[0]
ROWS = st.builds(
    lambda key, time, error: replace(BASE, key=f"k{key}", evaluated_at=time, error_kind=error, job_id=f"{time}{error}"),
    st.integers(0, 4),
    st.floats(0, 9),
    st.sampled_from(["", "checkpoint", "infrastructure_lost"]),
)


@given(st.lists(st.lists(ROWS, max_size=4), max_size=5), st.randoms(use_true_random=False))
def test_the_order_of_the_parts_changes_nothing_and_no_evaluation_is_lost(
    parts: list[list[Row]], random: object
) -> None:
    whole = put_together(parts)
    shuffled = parts[:]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert put_together(shuffled) == whole
    assert {r.key for r in whole} == {r.key for part in parts for r in part}
    # Putting together what was put together, in any grouping, is the same table.
    assert put_together([put_together(parts[:2]), put_together(parts[2:])]) == whole


def test_a_result_stands_over_a_reason_and_the_newest_over_the_older() -> None:
    failed = replace(BASE, error_kind="infrastructure_lost", evaluated_at=9.0)
    newer = replace(BASE, evaluated_at=7.0)
    assert put_together([[failed], [newer], [BASE]]) == [newer]
