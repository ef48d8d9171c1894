"""Many small trainings and evaluations in one simulation, each of a shape in which people have their work.

``python -m tests.system.laboratory FOLDER`` makes one Cartpole environment and lets all of them use it; what each gave
is written to ``FOLDER/results.json``, and the tests read it. Starting a simulator for each would take minutes.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from isaaclab_flows.container.simulator.events import EventFile
from isaaclab_flows.container.simulator.libraries import library
from isaaclab_flows.container.simulator.session import Session, environment, launched, resolve
from isaaclab_flows.container.simulator.stop import StopRequest
from isaaclab_flows.container.simulator.training import train
from isaaclab_flows.schemas.errors import FlowsError
from isaaclab_flows.schemas.simulator import EvaluationOrder, SimulatorJob, TrainingOrder
from tests.system import lab_tasks, old_versions

ENVIRONMENTS = 8
Scenario = Callable[["Laboratory"], dict[str, Any]]
SCENARIOS: dict[str, Scenario] = {}


def scenario(function: Scenario) -> Scenario:
    """Have a scenario run, by its function's name."""
    SCENARIOS[function.__name__] = function
    return function


class Laboratory:
    """One running environment, and sessions of it as orders want them."""

    def __init__(self, session: Session, folder: Path) -> None:
        self.session = session
        self.folder = folder
        self.core = session.env.unwrapped

    def order(self, name: str, **fields: Any) -> Session:
        """Return the session that an order would get, on the environment that is there."""
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        job = job_of(folder, **fields)
        events = EventFile(folder / "progress.jsonl")
        setup = resolve(job, library(job.library), events=events, stop=StopRequest(), play=job.evaluation is not None)
        # The environment's own configuration stays: only the agent's differs.
        parts = {f.name: getattr(setup, f.name) for f in dataclasses.fields(setup)}
        return Session(**parts, env=self.session.env)

    def train(self, name: str, *, iterations: int, interval: int = 1, **fields: Any) -> dict[str, Any]:
        """Train; return the result's fields, or the error."""
        order = TrainingOrder(
            max_iterations=iterations,
            checkpoint_interval=interval,
            resume_checkpoint=fields.pop("resume", None),
            on_divergence=fields.pop("on_divergence", "fail"),
        )
        return self._tried(name, lambda: train(self.order(name, training=order, **fields)))

    def evaluate(self, name: str, *checkpoints: Path | str, **fields: Any) -> dict[str, Any]:
        """Evaluate two rounds' worth of a few steps; return each checkpoint's evaluation."""
        from isaaclab_flows.container.simulator.evaluate import evaluate

        order = EvaluationOrder(checkpoints=tuple(map(str, checkpoints)), num_episodes=1, steps_per_episode=8)

        def run() -> dict[str, Any]:
            found = evaluate(self.order(name, evaluation=order, **fields))
            return {"evaluations": [e.model_dump(mode="json") for e in found]}

        return self._tried(name, run)

    def _tried(self, name: str, run: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        self.core.reset_shape()
        try:
            result = run()
        except FlowsError as error:
            result = {"error": error.kind, "sentence": error.sentence}
        checkpoints = sorted((self.folder / name / "run" / "checkpoints").glob("*"), key=lambda p: p.stat().st_mtime_ns)
        events = [json.loads(line) for line in (self.folder / name / "progress.jsonl").read_text().splitlines()]
        return result | {
            "checkpoints": [p.name for p in checkpoints],
            "warnings": [e["message"] for e in events if e["event"] == "warning"],
        }


def job_of(folder: Path, **fields: Any) -> SimulatorJob:
    """Return an order for the laboratory's environment."""
    known: dict[str, Any] = {
        "job_id": folder.name,
        "task": "Lab-Cartpole-v0",
        "library": "rsl_rl",
        "num_envs": ENVIRONMENTS,
        "seed": 42,
        "device": "cpu",
        "run_folder": str(folder / "run"),
        "progress_file": str(folder / "progress.jsonl"),
        "result_file": str(folder / "result.json"),
    }
    return SimulatorJob.model_validate(known | fields)


@scenario
def numbers_that_are_none(lab: Laboratory) -> dict[str, Any]:
    """A reward turns NaN after 40 steps; every library sees it, also where it does not look itself."""
    found = {}
    for name, overrides in {
        "rsl_rl": ("agent.check_for_nan=false",),
        "rl_games": ("agent.params.config.minibatch_size=64",),
        "skrl": (),
    }.items():
        lab.core.nan_after = 40
        found[name] = lab.train(f"nan-{name}", iterations=6, library=name, hydra_overrides=overrides)
    lab.core.nan_after = 40
    found["seen by rsl_rl itself"] = lab.train("nan-itself", iterations=6)
    lab.core.nan_after, lab.core.nan_steps = 40, 1
    found["rolled back"] = lab.train("nan-back", iterations=5, library="skrl", on_divergence="rollback")
    lab.core.nan_after = None
    return found


@scenario
def distillation(lab: Laboratory) -> dict[str, Any]:
    """A teacher of 1,500 iterations, a student of four, and its going on."""
    teacher = lab.train("teacher", iterations=1, agent="teacher")
    path = lab.folder / "teacher" / "run" / "checkpoints" / "model_0.pt"
    state = torch.load(path, weights_only=True)
    old = lab.folder / "model_1499.pt"
    torch.save(state | {"iter": 1499}, old)
    student = lab.train("student", iterations=3, agent="distillation", resume=str(old))
    last = lab.folder / "student" / "run" / "checkpoints" / "model_2.pt"
    return {
        "teacher": teacher,
        "without a teacher": lab.train("alone", iterations=3, agent="distillation"),
        "student": student,
        "goes on": lab.train("student-more", iterations=4, agent="distillation", resume=str(last)),
        "evaluated": lab.evaluate("student-evaluated", last, agent="distillation"),
        "no such agent": lab.train("no-agent", iterations=1, agent="amp"),
    }


@scenario
def other_networks(lab: Laboratory) -> dict[str, Any]:
    """A recurrent actor, and a critic that sees what the actor does not, are trained and evaluated."""
    found = {}
    for agent in ("recurrent", "privileged"):
        trained = lab.train(agent, iterations=2, agent=agent)
        last = lab.folder / agent / "run" / "checkpoints" / "model_1.pt"
        found[agent] = trained | {"evaluated": lab.evaluate(f"{agent}-evaluated", last, agent=agent)}
    return found


@scenario
def old_checkpoints(lab: Laboratory) -> dict[str, Any]:
    """One policy as every version of its library would have written it plays the same episodes."""
    files = {"rsl_rl": lab.folder / "privileged" / "run" / "checkpoints" / "model_1.pt"}
    for name, library_name in (("old-skrl", "skrl"), ("old-rl_games", "rl_games")):
        overrides = ("agent.params.config.minibatch_size=64",) if library_name == "rl_games" else ()
        lab.train(name, iterations=1, library=library_name, hydra_overrides=overrides)
        files[library_name] = next((lab.folder / name / "run" / "checkpoints").iterdir())
    found: dict[str, Any] = {}
    for library_name, path in files.items():
        today = torch.load(path, weights_only=True)
        paths = []
        for version, state in old_versions.versions(library_name, today).items():
            paths.append(lab.folder / f"{version}{path.suffix}")
            torch.save(state, paths[-1])
        order = {"library": library_name} | ({"agent": "privileged"} if library_name == "rsl_rl" else {})
        played = lab.evaluate(f"{library_name}-versions", path, *paths, **order)
        played["episodes"] = [
            Path(e["episodesFile"]).read_text() if e["episodesFile"] else e["error"] for e in played["evaluations"]
        ]
        found[library_name] = played
    old = lab.folder / "rsl_rl 2.x.pt"
    found["resumed"] = lab.train("old-resumed", iterations=3, agent="privileged", resume=str(old))
    found["no normaliser here"] = lab.evaluate("no-normaliser", files["rsl_rl"], agent="teacher")
    return found


def main(folder: Path) -> None:
    """Run every scenario and write what it gave."""
    import isaaclab_tasks  # noqa: F401

    lab_tasks.register()
    job = job_of(folder, training=TrainingOrder(max_iterations=1, checkpoint_interval=1))
    setup = resolve(job, library(job.library), events=EventFile(folder / "progress.jsonl"), stop=StopRequest())
    results: dict[str, Any] = {}
    with launched(setup), environment(setup) as session:
        for name, run in SCENARIOS.items():
            if len(sys.argv) > 2 and name not in sys.argv[2:]:
                continue
            try:
                results[name] = run(Laboratory(session, folder))
            except Exception:
                results[name] = {"broken": traceback.format_exc()}
        (folder / "results.json").write_text(json.dumps(results, indent=2, default=str))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
