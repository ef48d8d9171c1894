import json
from pathlib import Path

from isaaclab_flows.container.simulator.events import EventFile, NoEvents, write_result
from isaaclab_flows.schemas.errors import ConfigError, ErrorRecord
from isaaclab_flows.schemas.simulator import (
    EVENTS,
    CheckpointEvent,
    IterationEvent,
    SimulatorResult,
    StageEvent,
    WarningEvent,
)


def test_each_event_is_one_line_that_the_supervisor_reads_back(tmp_path: Path) -> None:
    file = tmp_path / "attempts" / "progress.jsonl"
    events = EventFile(file)
    events.stage("training", "iteration 3\nof 5")
    events.write(IterationEvent(iteration=3, total=5, reward=1.5))
    events.write(CheckpointEvent(path="/run/model_3.pt", iteration=3))
    events.warn("Slow.")
    read = [EVENTS.validate_json(line) for line in file.read_text().splitlines()]
    assert [type(event) for event in read] == [StageEvent, IterationEvent, CheckpointEvent, WarningEvent]
    assert isinstance(read[1], IterationEvent)
    assert (read[1].reward, read[1].episode_length) == (1.5, None)


def test_a_later_writer_of_the_same_file_appends(tmp_path: Path) -> None:
    for number in (1, 2):
        EventFile(tmp_path / "progress.jsonl").alive(str(number))
    lines = (tmp_path / "progress.jsonl").read_text().splitlines()
    assert [json.loads(line)["message"] for line in lines] == ["1", "2"]


def test_processes_other_than_the_first_are_silent() -> None:
    silence = NoEvents()
    silence.stage("training")
    silence.alive()
    silence.warn("unheard")
    silence.write(IterationEvent(iteration=0, total=1))


def test_a_result_appears_whole_and_reads_back(tmp_path: Path) -> None:
    error = ErrorRecord.of(ConfigError("No such task", where="trainingConfig.task", remedy="Choose another."))
    write_result(tmp_path / "deep" / "result.json", SimulatorResult(status="failed", error=error, iterations=7))
    read = SimulatorResult.model_validate_json((tmp_path / "deep" / "result.json").read_bytes())
    assert read.error is not None
    assert read.error.sentence == "No such task (at trainingConfig.task). Choose another."
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["result.json"]
