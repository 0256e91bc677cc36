"""Private temporary folders: nobody else's, gone with their process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from nas.runtime import private_folder
from nas.runtime.private_folder import PrivateFolder, longest_name, sweep, temporary_places

ROOT = Path(__file__).parents[3]


def test_the_folder_is_for_its_owner_alone(tmp_path: Path) -> None:
    folder = PrivateFolder([tmp_path])
    assert folder.path.parent == tmp_path and folder.path.stat().st_mode & 0o777 == 0o700
    assert len(str(folder.path)) == len(str(tmp_path)) + longest_name()
    (folder.path / "deep").mkdir()
    (folder.path / "deep" / "file").touch()
    assert sweep([tmp_path]) == [] and folder.path.exists()  # its process, this one, lives
    folder.remove()
    assert list(tmp_path.iterdir()) == []


def test_the_first_place_that_takes_it(tmp_path: Path) -> None:
    folder = PrivateFolder([Path("/proc"), tmp_path / "absent", tmp_path])
    assert folder.path.parent == tmp_path
    folder.remove()
    with pytest.raises(OSError, match=r"/proc/nas-"):
        PrivateFolder([Path("/proc"), tmp_path / "absent"])


def test_folders_of_killed_processes_are_swept_and_no_others(tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from nas.runtime.private_folder import PrivateFolder\n"
        "made = PrivateFolder([Path(sys.argv[1])]); print(made.path, flush=True); time.sleep(60)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    left = Path(process.stdout.readline().strip())
    others = [
        tmp_path / f"nas-{os.getuid() + 1}-12345678",
        tmp_path / "nas",
        tmp_path / f"nas-{os.getuid()}-new",
    ]
    for other in others:
        other.mkdir()
    target = tmp_path / "kept"
    target.mkdir()
    (tmp_path / f"nas-{os.getuid()}-link").symlink_to(target)
    assert sweep([tmp_path]) == []
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert sweep([tmp_path, tmp_path / "absent"]) == [left]
    assert not left.exists() and target.exists() and all(other.exists() for other in others)


def test_a_folder_without_an_owner_is_swept_once_nobody_can_be_making_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = tmp_path / f"nas-{os.getuid()}-00000000"
    left.mkdir()
    assert sweep([tmp_path]) == []
    monkeypatch.setattr(private_folder, "_BEING_MADE", -1.0)
    assert sweep([tmp_path]) == [left]


def test_places_are_the_users_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", "/a")
    monkeypatch.setenv("TMPDIR", "/b")
    monkeypatch.setattr(tempfile, "tempdir", "/c")
    places = [str(place) for place in temporary_places()]
    assert places[:2] == ["/a", "/b"] and places[-3:] == ["/c", "/tmp", "/var/tmp"]


def test_loaders_hand_tensors_over_whatever_tmpdir_is(tmp_path: Path) -> None:
    long = tmp_path / ("x" * 88)
    long.mkdir()
    program = """
import sys
import torch
from torch.utils.data import DataLoader
from nas.runtime.private_folder import make_room_for_sockets
make_room_for_sockets()
print(sum(batch.sum().item() for batch in DataLoader(torch.ones(8, 1000), num_workers=1, batch_size=4)))
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "TMPDIR": str(long)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout.strip() == "8000.0", done.stderr
    assert list(long.iterdir()) == []
