"""The films of an evaluation: which images are taken, and what becomes of them."""

from __future__ import annotations

import time
import traceback
from pathlib import Path
from typing import Any, Final

from isaaclab_flows.container.simulator.camera import Camera
from isaaclab_flows.container.simulator.session import Session
from isaaclab_flows.container.simulator.video import VideoWriter, write_png
from isaaclab_flows.schemas.errors import SimulatorError
from isaaclab_flows.schemas.simulator import EvaluationOrder

PREVIEW_FRAME: Final = 60
"""The image that is kept as a still: the policy is under way by then."""
LONG_SECONDS: Final = 180.0
"""A video that will take longer is announced, with what makes it shorter."""


class Films:
    """The camera of all the order's films; it is made with the first image, when everything stands in its place."""

    def __init__(self, session: Session, order: EvaluationOrder) -> None:
        assert order.video is not None
        self.session = session
        self.config = order.video
        self.frames = order.num_episodes * order.steps_per_episode
        if order.video.max_frames is not None:
            self.frames = min(self.frames, order.video.max_frames)
        self.fps = float(order.video.fps or min(120.0, max(1.0, 1.0 / session.step_dt)))
        self._camera: Camera | None = None

    def image(self) -> Any:
        """Return the picture of this moment, a uint8 array (height, width, 3)."""
        if self._camera is None:
            self._camera = Camera(self.session.env, self.config)
        return self._camera.image()

    def film(self, folder: Path) -> FilmRecording:
        """Begin a film in a checkpoint's folder; use it as a context."""
        return FilmRecording(self, folder)


class FilmRecording:
    """One checkpoint's video and its still; use it as a context.

    When it cannot be taken or encoded, people are told and the evaluation goes on: its numbers are worth having alone.
    """

    def __init__(self, films: Films, folder: Path) -> None:
        self._video = folder / "video.mp4"
        self._preview = folder / "preview.png"
        self._films = films
        self._writer = VideoWriter(self._video, width=films.config.width, height=films.config.height, fps=films.fps)
        self._still = min(PREVIEW_FRAME, (films.frames + 1) // 2)
        self._first_image: float | None = None
        self._failed = False

    @property
    def frames(self) -> int:
        """Images taken so far; 0 when the film failed."""
        return 0 if self._failed else self._writer.frames

    @property
    def video(self) -> str | None:
        """The mp4, once the context is left; None when the film failed."""
        return None if self._failed else str(self._video)

    @property
    def preview(self) -> str | None:
        """The still; None when the film failed."""
        return None if self._failed else str(self._preview)

    def take(self) -> bool:
        """Take one image; false once there are enough, or the film failed."""
        if self._failed or self.frames >= self._films.frames:
            return False
        try:
            image = self._films.image()
            self._writer.write(image)
            if self.frames == self._still:
                write_png(self._preview, image)
        except Exception as error:
            self._fail(error)
            return False
        self._announce()
        return self.frames < self._films.frames

    def __enter__(self) -> FilmRecording:
        self._writer.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        try:
            self._writer.__exit__(kind, error, trace)
        except SimulatorError as encoding:
            self._fail(encoding)

    def _fail(self, error: Exception) -> None:
        self._failed = True
        traceback.print_exception(error)
        self._writer.discard()
        self._preview.unlink(missing_ok=True)
        reason = error.sentence if isinstance(error, SimulatorError) else f"{type(error).__name__}: {error}"
        self._films.session.events.warn(f"The evaluation goes on without its video: {reason}")

    def _announce(self) -> None:
        # The first image compiles the ray tracer, so time is taken from the second on.
        if self.frames == 1:
            self._first_image = time.monotonic()
        if self.frames != PREVIEW_FRAME or self._first_image is None:
            return
        rate = (PREVIEW_FRAME - 1) / (time.monotonic() - self._first_image)
        seconds = self._films.frames / rate
        if seconds > LONG_SECONDS:
            self._films.session.events.warn(
                f"The video's {self._films.frames:,} images will take about {seconds / 60:.0f} minutes ({rate:.0f} a"
                " second). videoConfig.maxFrames, a smaller videoConfig.width and height, or"
                " trainingConfig.recordVideo: false make it shorter."
            )
