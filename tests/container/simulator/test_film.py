from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("imageio_ffmpeg")
pytest.importorskip("torch")

from isaaclab_flows.container.simulator.film import Films
from isaaclab_flows.schemas.config import VideoConfig
from isaaclab_flows.schemas.simulator import EvaluationOrder


@dataclass
class Warnings:
    said: list[str] = field(default_factory=list)

    def warn(self, message):
        self.said.append(message)


def films(image, *, max_frames=None, rounds=2, steps=3):
    session = SimpleNamespace(step_dt=1 / 50, events=Warnings(), env=None)
    video = VideoConfig(width=64, height=64, max_frames=max_frames)
    order = EvaluationOrder(checkpoints=("/m.pt",), num_episodes=rounds, steps_per_episode=steps, video=video)
    made = Films(session, order)
    made._camera = SimpleNamespace(image=image)
    return made


def grey():
    return np.full((64, 64, 3), 100, dtype=np.uint8)


def test_a_film_has_an_image_for_every_step_of_every_round_and_no_more(tmp_path):
    made = films(grey)
    with made.film(tmp_path) as film:
        wants = [film.take() for _ in range(8)]
    assert wants == [True] * 5 + [False] * 3
    assert film.frames == 6
    assert made.fps == 50
    assert Path(film.video).stat().st_size > 0
    assert Path(film.preview).stat().st_size > 0


def test_a_film_ends_at_its_most_frames(tmp_path):
    with films(grey, max_frames=2).film(tmp_path) as film:
        assert [film.take() for _ in range(3)] == [True, False, False]
    assert film.frames == 2


def test_an_evaluation_goes_on_without_a_film_that_cannot_be_taken(tmp_path):
    shots = iter([grey(), grey()])
    made = films(lambda: next(shots))
    with made.film(tmp_path) as film:
        assert [film.take() for _ in range(4)] == [True, True, False, False]
    assert (film.video, film.preview, film.frames) == (None, None, 0)
    assert made.session.events.said == ["The evaluation goes on without its video: StopIteration: "]
    assert list(tmp_path.iterdir()) == []


def test_a_film_without_an_image_is_told_and_raises_nothing(tmp_path):
    made = films(grey)
    with made.film(tmp_path) as film:
        pass
    assert film.video is None
    assert "could not be encoded" in made.session.events.said[0]
