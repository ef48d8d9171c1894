"""Videos, written image by image as they come: however long one gets, memory stays flat."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from isaaclab_flows.schemas.errors import SimulatorError
from isaaclab_flows.schemas.files import PARTIAL_SUFFIX, renamed_into, settle

_CLOSE_SECONDS = 120
_LAST_WORDS = 2_000


class VideoWriter:
    """Encodes RGB images as H.264 in an mp4 that browsers play from the start.

    The file appears complete under its name when the context is left without an error, and not at all otherwise.

    Args:
        path: The mp4.
        width: Pixels across, even.
        height: Pixels down, even.
        fps: Images a second.

    Raises:
        SimulatorError: ffmpeg could not be started or failed.
    """

    def __init__(self, path: Path, *, width: int, height: int, fps: float) -> None:
        self.path = path
        self.frames = 0
        self._discarded = False
        self._shape = (height, width, 3)
        self._partial = path.with_name(f".{path.name}{PARTIAL_SUFFIX}")
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  closed on leaving the context
        path.parent.mkdir(parents=True, exist_ok=True)
        command = [_ffmpeg(), "-y", "-loglevel", "error", "-nostdin"]
        command += [
            "-f",
            "rawvideo",
            "-pix_fmt",
            "rgb24",
            "-s",
            f"{width}x{height}",
            "-r",
            f"{fps:.6g}",
            "-i",
            "pipe:0",
        ]
        # yuv420p and the index at the front are what browsers need; veryfast leaves the cores to the simulation.
        command += ["-an", "-c:v", "libx264", "-preset", "veryfast", "-crf", "21", "-pix_fmt", "yuv420p"]
        command += ["-movflags", "+faststart", "-f", "mp4", str(self._partial)]
        try:
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=self._errors, stderr=self._errors)
        except OSError as error:
            raise self._failure(str(error)) from error

    def write(self, image: Any) -> None:
        """Append one image.

        Args:
            image: uint8 array (height, width, 3).
        """
        if image.shape != self._shape or image.dtype != "uint8":
            raise ValueError(f"an image is {image.dtype} {image.shape}, not uint8 {self._shape}")
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(image.tobytes())
        except OSError as error:
            raise self._failure(self._last_words()) from error
        self.frames += 1

    def close(self) -> None:
        """Finish the file and give it its name."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.close()
            code = self._process.wait(_CLOSE_SECONDS)
        except (OSError, subprocess.TimeoutExpired) as error:
            self.discard()
            raise self._failure(f"{error}") from error
        words = self._last_words()
        if code != 0 or self.frames == 0:
            self.discard()
            raise self._failure(words or "no images")
        settle(self._partial, self.path)

    def discard(self) -> None:
        """Give the video up and leave nothing behind; the context may then be left without another error."""
        self._discarded = True
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        if self._process.stdin is not None and not self._process.stdin.closed:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        self._partial.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is not None:
                self.discard()
            elif not self._discarded:
                self.close()
        finally:
            self._errors.close()

    def _last_words(self) -> str:
        self._errors.seek(0)
        return self._errors.read()[-_LAST_WORDS:].decode(errors="replace").strip()

    def _failure(self, words: str) -> SimulatorError:
        return SimulatorError(
            f"The video could not be encoded: {words.splitlines()[-1] if words else 'ffmpeg ended early'}",
            where=str(self.path),
            remedy="Is the disk full? trainingConfig.recordVideo: false evaluates without a video.",
            details=words,
        )


def write_png(path: Path, image: Any) -> None:
    """Write an RGB image (height, width, 3) of uint8 as PNG, complete or not at all."""
    from PIL import Image

    with renamed_into(path) as partial:
        Image.fromarray(image).save(partial, format="PNG")


def _ffmpeg() -> str:
    from imageio_ffmpeg import get_ffmpeg_exe

    return str(get_ffmpeg_exe())
