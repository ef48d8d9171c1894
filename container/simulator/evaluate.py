"""Evaluates checkpoints in one simulator process: start-up is paid once, and all of them meet the same episodes."""

from __future__ import annotations

import csv
import hashlib
import io
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from isaaclab_flows.container.simulator import camera, failures, overrides
from isaaclab_flows.container.simulator.film import Films
from isaaclab_flows.container.simulator.session import Session, Setup
from isaaclab_flows.container.simulator.stop import StoppedError
from isaaclab_flows.schemas.config import CamelModel
from isaaclab_flows.schemas.errors import CheckpointError, ErrorRecord
from isaaclab_flows.schemas.files import sha256_of, write_whole
from isaaclab_flows.schemas.simulator import CheckpointEvaluation, EvaluationEvent, EvaluationOrder

if TYPE_CHECKING:
    from isaaclab_flows.container.simulator.libraries.base import Policy
    from isaaclab_flows.container.simulator.rounds import Episode

COLUMNS: Final = ("round", "environment", "return", "length", "outcome", "success")
"""Columns of episodes.csv; one column `reward/<term>` follows for each reward term that the task keeps."""
ALIVE_SECONDS: Final = 10.0


def prepare(setup: Setup) -> None:
    """Change the resolved configuration before anything is launched.

    Curricula are left out: they would make an episode depend on those before it, and so on the order's other
    checkpoints.
    """
    if getattr(setup.env_cfg, "curriculum", None) is not None:
        setup.env_cfg.curriculum = None
    if _order(setup).video is None:
        return
    reason = camera.prepare(setup.env_cfg)
    if reason:
        setup.events.warn(f"No video: '{setup.job.task}' cannot be filmed, because {reason}.")
    overrides.check_effect(setup.job, setup.env_cfg, setup.agent_cfg)


def evaluate(session: Session) -> tuple[CheckpointEvaluation, ...]:
    """Evaluate the order's checkpoints one after the other.

    A checkpoint that cannot be evaluated is an entry with its error, and the others go on. One that an earlier attempt
    of this job finished is not evaluated again.
    """
    order = _order(session)
    counted = _count(len(order.checkpoints), "checkpoint"), _count(order.num_episodes, "round")
    session.events.stage("evaluating", f"{counted[0]}, {counted[1]} each")
    # Isaac Lab's first reset after creation leaves joints at rest whatever the task asks for; it must not be counted.
    session.env.reset(seed=round_seed(session.job.seed, 0))
    limit = int(session.env.unwrapped.max_episode_length)
    if order.steps_per_episode < limit:
        session.events.warn(
            f"stepsPerEpisode is {order.steps_per_episode:,}, and an episode of '{session.job.task}' may last {limit:,}"
            " steps: episodes that reach stepsPerEpisode are cut there (outcome truncated) and judged as they stand."
        )
    filming = order.video is not None and hasattr(session.env_cfg.sim.physics, "load_visual_shapes")
    films = Films(session, order) if filming else None
    return tuple(_evaluate_one(session, order, position, films) for position in range(len(order.checkpoints)))


class _Done(CamelModel):
    """What stays of a finished checkpoint for the attempts after this one."""

    terms: dict[str, str | int | None]
    """What the evaluation depends on; it counts only for the same."""
    evaluation: CheckpointEvaluation


def _evaluate_one(session: Session, order: EvaluationOrder, position: int, films: Films | None) -> CheckpointEvaluation:
    path = Path(order.checkpoints[position])
    folder = session.run_folder / "evaluations" / str(position)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        digest = sha256(path)
        terms = _terms(session, order, digest)
        done = _finished_before(folder, terms)
        if done is not None:
            session.events.alive(f"{path.name} was evaluated by an earlier attempt")
            return done
        policy = _load(session, path)
        evaluation = _play(session, position, policy, folder, films)
    except CheckpointError as error:
        session.events.warn(f"{path.name} could not be evaluated: {error.sentence}")
        return CheckpointEvaluation(checkpoint=str(path), error=ErrorRecord.of(error))
    evaluation = evaluation.model_copy(update={"sha256": digest})
    note = _Done(terms=terms, evaluation=evaluation)
    write_whole(folder / "done.json", note.model_dump_json(by_alias=True).encode())
    return evaluation


def _load(session: Session, path: Path) -> Policy:
    try:
        return session.library.load_policy(session, path)
    except (CheckpointError, StoppedError):
        raise
    except Exception as error:
        explained = failures.explain(error, session.job)
        raise CheckpointError(
            f"The checkpoint could not be loaded: {type(error).__name__}",
            where=str(path),
            remedy="Use the task, the library and the agent settings that it was trained with.",
            details=explained.details or str(error),
        ) from error


def _play(session: Session, position: int, policy: Policy, folder: Path, films: Films | None) -> CheckpointEvaluation:
    from isaaclab_flows.container.simulator.rounds import play_round

    order = _order(session)
    checkpoint = order.checkpoints[position]
    rows: list[tuple[int, Episode]] = []
    steps_done = 0
    begun = time.monotonic()
    with ExitStack() as stack:
        film = stack.enter_context(films.film(folder)) if films is not None else None
        pulse = _Pulse(session, f"{Path(checkpoint).name}, round")
        checked = _CheckedPolicy(policy, checkpoint)
        for number in range(1, order.num_episodes + 1):
            pulse.label = f"{Path(checkpoint).name}, round {number} of {order.num_episodes}"

            def after_step(step: int) -> bool:
                pulse.beat(step, order.steps_per_episode)
                return film is not None and film.take()

            episodes, steps = play_round(
                session.env,
                checked,
                seed=round_seed(session.job.seed, number),
                steps=order.steps_per_episode,
                after_step=after_step,
            )
            rows += [(number, episode) for episode in episodes]
            steps_done += steps * session.job.num_envs
            seconds = time.monotonic() - begun
            session.events.write(
                EvaluationEvent(
                    checkpoint=checkpoint,
                    position=position,
                    checkpoints=len(order.checkpoints),
                    round=number,
                    rounds=order.num_episodes,
                    mean_return=sum(episode.total for _, episode in rows) / len(rows),
                    steps_per_second=steps_done / seconds if seconds > 0 else None,
                )
            )
    write_whole(folder / "episodes.csv", episodes_csv(rows).encode())
    return CheckpointEvaluation(
        checkpoint=checkpoint,
        episodes_file=str(folder / "episodes.csv"),
        video_file=film.video if film is not None else None,
        preview_file=film.preview if film is not None else None,
        video_frames=film.frames if film is not None else 0,
        environment_steps=steps_done,
        seconds=time.monotonic() - begun,
    )


class _CheckedPolicy:
    """A policy whose first actions are looked at: a diverged training leaves weights that are not numbers."""

    def __init__(self, policy: Policy, checkpoint: str) -> None:
        self._policy = policy
        self._checkpoint = checkpoint
        self._unchecked = True

    def act(self, observations: Any) -> Any:
        actions = self._policy.act(observations)
        if self._unchecked:
            self._unchecked = False
            if not bool(actions.isfinite().all()):
                raise CheckpointError(
                    "The policy's actions are not numbers (NaN or infinite)",
                    where=self._checkpoint,
                    remedy="Its training has diverged; choose an earlier checkpoint.",
                )
        return actions

    def reset(self, dones: Any = None) -> None:
        self._policy.reset(dones)


class _Pulse:
    """Ends a round when somebody asks, and gives signs of life while it lasts."""

    def __init__(self, session: Session, label: str) -> None:
        self.label = label
        self._session = session
        self._last = time.monotonic()

    def beat(self, step: int, steps: int) -> None:
        self._session.stop.check()
        now = time.monotonic()
        if now - self._last >= ALIVE_SECONDS:
            self._last = now
            self._session.events.alive(f"{self.label}, step {step:,} of {steps:,}")


def round_seed(seed: int, number: int) -> int:
    """Return a round's seed: different in each round, the same for every checkpoint and however often it is run."""
    digest = hashlib.sha256(f"{seed}/{number}".encode()).digest()
    # Warp takes a signed 32-bit number.
    return int.from_bytes(digest[:4], "big") >> 1


def sha256(path: Path) -> str:
    """Return a file's digest.

    Raises:
        CheckpointError: It cannot be read.
    """
    try:
        return sha256_of(path)
    except OSError as error:
        raise CheckpointError(
            f"The checkpoint cannot be read: {error.strerror or error}", where=str(path), remedy="Name one that exists."
        ) from error


def episodes_csv(rows: list[tuple[int, Episode]]) -> str:
    """Return episodes.csv: one row an episode, sorted by round and environment."""
    terms = sorted({name for _, episode in rows for name in episode.terms})
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow([*COLUMNS, *(f"reward/{name}" for name in terms)])
    for number, episode in rows:
        known = [number, episode.environment, repr(episode.total), episode.length, episode.outcome]
        success = "" if episode.success is None else f"{episode.success:g}"
        table.writerow([*known, success, *(repr(episode.terms[n]) if n in episode.terms else "" for n in terms)])
    return text.getvalue()


def _order(setup: Setup) -> EvaluationOrder:
    assert setup.job.evaluation is not None
    return setup.job.evaluation


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


def _terms(session: Session, order: EvaluationOrder, digest: str) -> dict[str, str | int | None]:
    job = session.job
    return {
        "sha256": digest,
        "task": job.task,
        "library": job.library,
        "agent": job.agent,
        "numEnvs": job.num_envs,
        "seed": job.seed,
        "numEpisodes": order.num_episodes,
        "stepsPerEpisode": order.steps_per_episode,
        "video": order.video.model_dump_json() if order.video is not None else None,
        "hydraOverrides": "\n".join(job.hydra_overrides),
    }


def _finished_before(folder: Path, terms: dict[str, str | int | None]) -> CheckpointEvaluation | None:
    try:
        done = _Done.model_validate_json((folder / "done.json").read_bytes())
    except (OSError, ValueError):
        return None
    files = [done.evaluation.episodes_file, done.evaluation.video_file, done.evaluation.preview_file]
    there = all(Path(file).is_file() for file in files if file is not None)
    return done.evaluation if done.terms == terms and there else None
