from pathlib import Path

import pytest

from isaaclab_flows.container.start import gpu_health
from isaaclab_flows.container.start.gpu_health import examine, judge, parse

HEALTHY = "0, NVIDIA L40S, 550.54.15, 46068, 3, 0, No\n"


@pytest.fixture
def nvidia_smi(tmp_path, monkeypatch):
    """Puts a stand-in on the path: it prints a text and exits with a code."""

    def install(text: str, code: int = 0) -> None:
        (tmp_path / "answer").write_text(text)
        program = tmp_path / "nvidia-smi"
        program.write_text(f"#!/bin/sh\ncat {tmp_path}/answer\nexit {code}\n")
        program.chmod(0o755)

    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return install


def test_a_gpu_is_read_with_everything_that_its_driver_tells():
    (gpu,) = parse(HEALTHY)
    assert (gpu.name, gpu.driver, gpu.memory_mib, gpu.uncorrected_errors) == ("NVIDIA L40S", "550.54.15", 46068, 0)
    assert not judge([gpu])


def test_a_gpu_without_ecc_is_healthy():
    assert not judge(parse("0, NVIDIA GeForce RTX 4090, 550.54.15, 24564, 900, [N/A], [N/A]\n"))


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("1, L40S, 550, 46068, 3, 2, No", "GPU 1 (L40S) has had 2 uncorrectable memory errors"),
        ("0, L40S, 550, 46068, 3, 0, Yes", "could not be remapped"),
        ("0, L40S, 550, 46068, 40000, 0, No", "40,000 of its 46,068 MiB taken by another process"),
        ("0, L40S, 550, [Unknown Error], [Unknown Error], ERR!, ERR!", "fallen off the bus"),
    ],
)
def test_a_broken_gpu_is_named_with_what_is_wrong(row, said):
    assert said in judge(parse(f"{HEALTHY}{row}\n"))


def test_no_driver_is_trouble_only_where_a_gpu_is_needed(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not examine(needed=False).trouble
    assert "no NVIDIA driver" in examine(needed=True).trouble


def test_a_driver_that_fails_is_trouble_even_where_no_gpu_is_needed(nvidia_smi):
    nvidia_smi("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n", code=9)
    assert "couldn't communicate with the NVIDIA driver" in examine(needed=False).trouble


def test_a_hung_driver_is_given_up_on(monkeypatch, tmp_path):
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\nexec sleep 30\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(gpu_health, "QUERY_SECONDS", 0.2)
    assert "did not answer" in examine(needed=True).trouble


def test_a_driver_without_gpus_is_trouble_only_where_one_is_needed(nvidia_smi):
    nvidia_smi("")
    assert examine(needed=False) == gpu_health.GpuReport()
    assert "knows no GPU" in examine(needed=True).trouble


def test_cuda_must_start_too(nvidia_smi, monkeypatch):
    nvidia_smi(HEALTHY)
    monkeypatch.setattr(gpu_health, "_CUDA_PROGRAM", "print(802, 0)")
    assert examine(needed=True).trouble == "CUDA does not start (error 802)"
    monkeypatch.setattr(gpu_health, "_CUDA_PROGRAM", "print(0, 0)")
    assert "CUDA sees 0" in examine(needed=True).trouble
    monkeypatch.setattr(gpu_health, "_CUDA_PROGRAM", "print(0, 1)")
    assert not examine(needed=True).trouble


def test_a_part_of_the_machine_is_not_taken_for_a_broken_machine(nvidia_smi, monkeypatch):
    nvidia_smi(HEALTHY + HEALTHY.replace("0,", "1,", 1))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    monkeypatch.setattr(
        gpu_health, "_CUDA_PROGRAM", "import os; print(0, 1 if 'CUDA_VISIBLE_DEVICES' in os.environ else 2)"
    )
    assert not examine(needed=True).trouble


def test_an_older_driver_is_asked_less(tmp_path, monkeypatch):
    program = Path(tmp_path / "nvidia-smi")
    program.write_text(
        '#!/bin/sh\ncase "$1" in *remapped*) echo \'Field "remapped_rows.failure" is not a valid field to query.\';'
        " exit 2;; esac\necho '0, Tesla T4, 440.1, 15109, 0'\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(gpu_health, "_CUDA_PROGRAM", "print(0, 1)")
    report = examine(needed=True)
    assert not report.trouble
    assert report.gpus[0].driver == "440.1"
