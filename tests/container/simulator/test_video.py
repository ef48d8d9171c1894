import re
import subprocess

import numpy as np
import pytest

imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg")

from isaaclab_flows.container.simulator.camera import grid, lay_out  # noqa: E402
from isaaclab_flows.container.simulator.video import VideoWriter, write_png  # noqa: E402
from isaaclab_flows.schemas.errors import SimulatorError  # noqa: E402


def image(value: int = 128, *, width: int = 64, height: int = 48):
    return np.full((height, width, 3), value, dtype=np.uint8)


def probe(path) -> str:
    answer = subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-i", path], capture_output=True, text=True, check=False)
    return answer.stderr


def test_a_video_plays_in_browsers_and_has_every_frame(tmp_path):
    path = tmp_path / "new" / "video.mp4"
    with VideoWriter(path, width=64, height=48, fps=60) as video:
        for value in range(90):
            video.write(image(value * 2))
    said = probe(path)
    assert re.search(r"h264 .*yuv420p.*64x48.* 60 fps", said)
    assert "Duration: 00:00:01.50" in said
    content = path.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")
    assert [p.name for p in path.parent.iterdir()] == ["video.mp4"]


def test_an_error_in_between_leaves_no_video_behind(tmp_path):
    def film() -> None:
        with VideoWriter(tmp_path / "video.mp4", width=64, height=48, fps=60) as video:
            video.write(image())
            raise KeyError

    with pytest.raises(KeyError):
        film()
    assert list(tmp_path.iterdir()) == []


def test_a_video_without_images_is_an_error(tmp_path):
    with (
        pytest.raises(SimulatorError, match="could not be encoded"),
        VideoWriter(tmp_path / "video.mp4", width=64, height=48, fps=60),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_an_image_of_another_size_is_refused(tmp_path):
    with (
        pytest.raises(ValueError, match="not uint8"),
        VideoWriter(tmp_path / "video.mp4", width=64, height=48, fps=60) as video,
    ):
        video.write(image(width=32))


def test_a_still_is_a_png(tmp_path):
    write_png(tmp_path / "p.png", image())
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("count", "size", "expected"),
    [(1, (640, 360), (1, 1)), (2, (640, 360), (1, 2)), (4, (640, 360), (2, 2)), (16, (640, 360), (4, 4))],
)
def test_filmed_environments_share_the_picture(count, size, expected):
    assert grid(count, *size) == expected


@pytest.mark.parametrize("count", range(1, 17))
def test_every_filmed_environment_has_a_place_in_the_picture(count):
    rows, columns = grid(count, 640, 360)
    assert rows * columns >= count
    tiles = np.stack([np.full((360 // rows, 640 // columns, 3), n, dtype=np.uint8) for n in range(count)])
    picture = lay_out(tiles, (rows, columns), (360, 640))
    assert picture.shape == (360, 640, 3)
    assert set(range(count)) <= set(np.unique(picture))
