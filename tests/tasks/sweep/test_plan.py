"""Planning a sweep: what is evaluated, what is new, and what shares a process."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isaaclab_flows.schemas.config import EvaluationJobConfig, check_config
from isaaclab_flows.schemas.errors import ConfigError
from isaaclab_flows.schemas.sweep import SweepConfig, check_sweep
from isaaclab_flows.tasks.sweep.plan import (
    Candidate,
    choose_checkpoints,
    fixed_part,
    group_config,
    plan,
)


def sweep(**more: Any) -> SweepConfig:
    return check_sweep(
        {
            "name": "Nightly",
            "description": "",
            "sweepConfig": {
                "checkpoints": ["checkpoints"],
                "tasks": ["Isaac-Cartpole-Direct-v0"],
                "rlLibrary": "rsl_rl",
                "numEpisodes": 2,
                "stepsPerEpisode": 300,
            }
            | more,
            "computeConfig": {"numNodes": 1},
        },
        source="test",
    )


def candidates(count: int) -> list[Candidate]:
    return [Candidate(f"/runs/a/checkpoints/model_{n}.pt", f"sha256:{n}") for n in range(count)]


@given(
    count=st.integers(1, 12),
    seeds=st.sets(st.integers(0, 99), min_size=1, max_size=4),
    num_envs=st.sets(st.integers(1, 64), min_size=1, max_size=3),
    most=st.integers(1, 7),
    data=st.data(),
)
def test_every_evaluation_that_is_new_is_in_exactly_one_group(
    count: int, seeds: set[int], num_envs: set[int], most: int, data: st.DataObject
) -> None:
    config = sweep(seeds=sorted(seeds), numEnvs=sorted(num_envs), checkpointsPerJob=most)
    everything = plan(config, candidates(count), versions={})
    keys = [cell.key for cell in everything.cells]
    assert len(set(keys)) == len(keys) == count * len(seeds) * len(num_envs)
    known = data.draw(st.sets(st.sampled_from(keys)))
    rest = plan(config, candidates(count), versions={}, known=known)
    planned = [cell.key for group in rest.groups for cell in group.cells]
    assert sorted(planned) == sorted(set(keys) - known)
    assert rest.new == len(planned)
    for group in rest.groups:
        assert 1 <= len(group.cells) <= most
        assert {cell.setting for cell in group.cells} == {group.setting}


def test_twenty_checkpoints_in_one_setting_share_one_process() -> None:
    assert [len(g.cells) for g in plan(sweep(), candidates(20), versions={}).groups] == [20]


@pytest.mark.parametrize(
    ("change", "versions", "again"),
    [
        ({}, {"isaaclab": "1"}, False),
        ({"variations": [{"name": "renamed"}]}, {"isaaclab": "1"}, False),
        ({"rankBy": "successRate"}, {"isaaclab": "1"}, False),
        ({"numEpisodes": 3}, {"isaaclab": "1"}, True),
        ({"variations": [{"name": "default", "hydraOverrides": ["env.x=1"]}]}, {"isaaclab": "1"}, True),
        ({"release": "image-7"}, {"isaaclab": "1"}, True),
        ({}, {"isaaclab": "2"}, True),
    ],
)
def test_what_decides_the_result_decides_what_is_new(
    change: dict[str, Any], versions: dict[str, str], again: bool
) -> None:
    first = plan(sweep(), candidates(1), versions={"isaaclab": "1"})
    known = {cell.key for cell in first.cells}
    assert (plan(sweep(**change), candidates(1), versions=versions, known=known).new == 1) is again


def test_a_moved_checkpoint_is_not_new_and_a_changed_one_is() -> None:
    known = {cell.key for cell in plan(sweep(), [Candidate("/a/model_1.pt", "sha256:1")], versions={}).cells}
    moved, changed = Candidate("/b/model_1.pt", "sha256:1"), Candidate("/a/model_1.pt", "sha256:2")
    assert plan(sweep(), [moved], versions={}, known=known).new == 0
    assert plan(sweep(), [changed], versions={}, known=known).new == 1
    assert plan(sweep(onlyNew=False), [moved], versions={}, known=known).new == 1


def test_one_content_under_two_names_is_evaluated_once() -> None:
    twice = [Candidate("/a/model_9.pt", "sha256:1"), Candidate("/a/final.pt", "sha256:1")]
    assert [c.candidate.uri for c in plan(sweep(), twice, versions={}).cells] == ["/a/model_9.pt"]


def test_a_group_is_a_valid_evaluation_of_all_its_checkpoints() -> None:
    config = sweep(variations=[{"name": "push", "hydraOverrides": ["env.push=1"]}], customEnvironmentPath="mine.whl")
    group = plan(config, candidates(3), versions={}).groups[0]
    checked = check_config(group_config(config, group), source="group")
    assert isinstance(checked, EvaluationJobConfig)
    assert checked.training_config.checkpoint_paths == tuple(c.uri for c in candidates(3))
    assert checked.training_config.hydra_overrides == ("env.push=1",)
    assert checked.custom_environment == "mine.whl"
    assert checked.training_config.record_video is False


def test_a_jobs_id_is_stable_over_retries_and_differs_between_sweeps() -> None:
    one, other = plan(sweep(seeds=[1, 2]), candidates(2), versions={}).groups
    run, rerun = uuid.uuid4(), uuid.uuid4()
    assert len({one.job_id(run), other.job_id(run), one.job_id(rerun)}) == 3
    again = plan(sweep(seeds=[1, 2]), candidates(2), versions={}).groups[0]
    assert again.job_id(run) == one.job_id(run)


def test_halves_hold_the_whole() -> None:
    group = plan(sweep(), candidates(5), versions={}).groups[0]
    first, second = group.halves()
    assert first.cells + second.cells == group.cells
    assert first.cells


PATHS = [
    "a/checkpoints/model_1500.pt",
    "a/checkpoints/model_999.pt",
    "a/exported/policy.pt",
    "a/best/model_5.pt",
    "b/checkpoints/agent_7.pt",
    "b/notes.txt",
]


@pytest.mark.parametrize(
    ("pattern", "chosen"),
    [
        ("a", ["a/checkpoints/model_999.pt", "a/checkpoints/model_1500.pt"]),
        ("a/", ["a/checkpoints/model_999.pt", "a/checkpoints/model_1500.pt"]),
        ("a/checkpoints/model_999.pt", ["a/checkpoints/model_999.pt"]),
        ("*/checkpoints/*", ["a/checkpoints/model_999.pt", "a/checkpoints/model_1500.pt", "b/checkpoints/agent_7.pt"]),
        ("?/checkpoints/agent_[0-9].pt", ["b/checkpoints/agent_7.pt"]),
        ("a/exported/policy.pt", ["a/exported/policy.pt"]),
        ("b/*.txt", []),
        ("c", []),
    ],
)
def test_patterns_choose_checkpoints_in_numeric_order(pattern: str, chosen: list[str]) -> None:
    assert choose_checkpoints(pattern, PATHS) == chosen


@given(st.lists(st.integers(0, 10**6), unique=True))
def test_numbers_in_names_sort_as_numbers(numbers: list[int]) -> None:
    names = [f"model_{n}.pt" for n in numbers]
    assert choose_checkpoints("*.pt", names) == [f"model_{n}.pt" for n in sorted(numbers)]


def test_the_fixed_part_ends_before_the_first_wildcard() -> None:
    assert fixed_part("s3://b/x/run*/checkpoints/*.pt") == "s3://b/x"
    assert fixed_part("/a/b/") == "/a/b"


def test_no_checkpoint_and_too_many_evaluations_are_said() -> None:
    with pytest.raises(ConfigError, match="No checkpoint was found"):
        plan(sweep(), [], versions={})
    large = sweep(seeds=list(range(1001)))
    with pytest.raises(ConfigError, match="at most 100,000"):
        plan(large, candidates(100), versions={})


def test_iteration_and_run_come_from_the_path() -> None:
    found = Candidate("s3://b/asset/run-1/checkpoints/model_300.pt", "etag:x")
    assert (found.iteration, found.run) == (300, "s3://b/asset/run-1")
    assert Candidate("/x/best_agent.pt", "y").iteration is None
