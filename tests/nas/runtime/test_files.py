"""Atomic files: whole or absent, whatever happens in the middle."""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
import safetensors
import safetensors.torch
import torch

from nas.runtime import files
from nas.training.supernet_checkpoint import read_progress
from search_spaces.errors import CheckpointError, StudyError, WorkError


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_text_and_json_round_trip_and_make_their_folder(tmp_path: Path) -> None:
    files.write_text(tmp_path / "a" / "b" / "note.txt", "größer\n")
    assert (tmp_path / "a" / "b" / "note.txt").read_text(encoding="utf-8") == "größer\n"
    files.write_json(tmp_path / "v.json", {"b": [1, 2.5], "a": None})
    text = (tmp_path / "v.json").read_text()
    assert json.loads(text) == {"b": [1, 2.5], "a": None}
    assert text.startswith('{\n  "b"') and text.endswith("}\n")
    assert names(tmp_path) == ["a", "v.json"]


def test_json_refuses_what_is_not_json(tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        files.write_json(tmp_path / "v.json", {"top1": float("nan")})
    assert names(tmp_path) == []


def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        files.write_text(tmp_path / "shared", "x")
    finally:
        os.umask(before)
    assert (tmp_path / "shared").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failing_step_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    target = tmp_path / "front.json"
    files.write_text(target, "old")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(WorkError, match=r"front\.json cannot be written \(No space left on device\)"):
        files.write_text(target, "new")
    assert target.read_text() == "old"
    assert names(tmp_path) == ["front.json"]


def test_an_interrupt_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "front.json"
    files.write_text(target, "old")

    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        files.write_text(target, "new")
    assert target.read_text() == "old"
    assert names(tmp_path) == ["front.json"]


def test_a_full_disk_is_one_sentence_and_tears_nothing(tmp_path: Path) -> None:
    (tmp_path / "bytes").write_text("old")
    (tmp_path / "tensors").write_text("old")
    program = """
from pathlib import Path
from torch import zeros
from nas.runtime.files import save_tensors, write_bytes
from search_spaces.errors import WorkError
import sys
folder = Path(sys.argv[1])
calls = [(write_bytes, "bytes", bytes(10**6)), (save_tensors, "tensors", {"w": zeros(10**6)})]
for write, name, value in calls:
    try:
        write(folder / name, value)
    except WorkError as error:
        print(error)
"""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        cwd=Path(__file__).parents[3],
        preexec_fn=limit,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert "bytes cannot be written (" in first and "tensors cannot be written (" in second
    assert (tmp_path / "bytes").read_text() == (tmp_path / "tensors").read_text() == "old"
    assert names(tmp_path) == ["bytes", "tensors"]


def test_a_kill_leaves_one_folder_that_the_next_run_sweeps(tmp_path: Path) -> None:
    program = """
import os, sys
from pathlib import Path
from nas.runtime import files
folder = Path(sys.argv[1])
files._sync = lambda path: os.kill(os.getpid(), 9)
files.save_tensors(folder / "deep" / "w.safetensors", {"w": __import__("torch").zeros(10)})
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], cwd=Path(__file__).parents[3], timeout=60
    )
    assert done.returncode == -9
    (left,) = (tmp_path / "deep").iterdir()
    with files.scratch_folder(tmp_path / "deep" / "own") as own:  # of a process that lives
        assert files.sweep_scratch(tmp_path) == 1
        assert not left.exists() and own.exists()
    assert names(tmp_path / "deep") == []


def test_what_others_left_is_swept_when_it_is_old_and_nothing_else(tmp_path: Path) -> None:
    elsewhere, former = tmp_path / ".w.00000000-1.01234567.tmp", tmp_path / ".w.999999999.01234567.tmp"
    elsewhere.mkdir()
    former.touch()
    for name in (".own.tmp", "w.00000000-1.01234567.tmp", ".w.00000000-1.01234567.tmp2", "w"):
        (tmp_path / name).touch()
    assert files.sweep_scratch(tmp_path) == 0
    for path in tmp_path.iterdir():
        os.utime(path, (0, 0))
    assert files.sweep_scratch(tmp_path) == 2
    assert not elsewhere.exists() and not former.exists() and len(names(tmp_path)) == 4


def test_tensors_round_trip_with_views_and_ties(tmp_path: Path) -> None:
    weight = torch.arange(12.0).view(3, 4)
    tensors = {
        "weight": weight,
        "tied": weight,
        "transposed": weight.T,
        "slice": weight[1:, :2],
        "parameter": torch.nn.Parameter(torch.ones(2, dtype=torch.bfloat16)),
        "scalar": torch.tensor(3),
        "empty": torch.empty(0, 2),
    }
    files.save_tensors(tmp_path / "w.safetensors", tensors, {"digest": "abc"})
    loaded, metadata = files.load_tensors(tmp_path / "w.safetensors")
    assert metadata == {"digest": "abc"}
    assert loaded.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert loaded[name].dtype == tensor.dtype
        assert torch.equal(loaded[name], tensor)


def test_a_header_is_read_without_the_tensors(tmp_path: Path) -> None:
    """The file has 64 GiB of weights, all of them holes: reading them would take minutes and the memory."""
    path, weights = tmp_path / "w.safetensors", 2**36
    header = {
        "__metadata__": {"step": "3", "total": "12"},
        "w": {"dtype": "U8", "shape": [weights], "data_offsets": [0, weights]},
    }
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text)
    os.truncate(path, 8 + len(text) + weights)
    assert files.load_metadata(path) == {"step": "3", "total": "12"}
    assert read_progress(path) == (3, 12)
    assert path.stat().st_blocks * 512 < 10**6


def test_tensors_larger_than_the_memory_are_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("unable to mmap 68719476870 bytes: Cannot allocate memory (12)\nand more")

    files.save_tensors(tmp_path / "w", {"w": torch.ones(1)})
    monkeypatch.setattr(files, "safe_open", fail)
    with pytest.raises(CheckpointError, match=r"w cannot be read \(unable to mmap .*\); free some memory$"):
        files.load_tensors(tmp_path / "w")


@pytest.mark.parametrize("header", [
    b"[]", b"3", b'{"w": 3}', b'{"w": {}}', b'{"w": {"data_offsets": [0]}}', b'{"w": {"data_offsets": [0, 4]}}',
    b'{"w": {"data_offsets": null}}', b'{"__metadata__": 3}', b"{", b"\xff\xfe",
])  # fmt: skip
def test_a_damaged_header_is_one_sentence(tmp_path: Path, header: bytes) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(CheckpointError, match=r"w.safetensors is truncated or not a safetensors file \("):
        files.load_metadata(path)


@pytest.mark.parametrize("damage", ["truncated", "empty", "foreign", "folder", "absent"])
def test_damaged_weights_are_one_sentence(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "w.safetensors"
    files.save_tensors(path, {"w": torch.ones(1000)})
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:-100])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "foreign":
        path.write_bytes(b"PK\x03\x04" + bytes(500))
    else:
        path.unlink()
        if damage == "folder":
            path.mkdir()
    for load in (files.load_tensors, files.load_metadata):
        with pytest.raises(CheckpointError, match=r"w\.safetensors") as caught:
            load(path)
        assert "\n" not in str(caught.value) and "; " in str(caught.value)


def test_the_checksum_is_the_crc_of_the_file_with_zeros_in_its_place(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    files.save_tensors(path, {"w": torch.arange(300.0)}, {"note": '"file_crc32":"00000000"'})
    content = path.read_bytes()
    (stored,) = re.findall(rb'[,{]"file_crc32":"([0-9a-f]{8})"', content)
    assert int(stored, 16) == zlib.crc32(content.replace(stored, b"0" * 8))
    # Anyone can read it, beside what the caller keeps there; ours is not the caller's.
    with safetensors.safe_open(path, framework="pt") as file:
        assert file.metadata() == {"note": '"file_crc32":"00000000"', "file_crc32": stored.decode()}
    assert files.load_metadata(path) == {"note": '"file_crc32":"00000000"'}


def test_every_flipped_bit_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    files.save_tensors(
        path, {"w": torch.arange(8.0), "half": torch.ones(3, dtype=torch.float16)}, {"step": "3"}
    )
    content = path.read_bytes()
    key = content.index(b"file_crc32")
    for place in range(len(content)):
        if key <= place < key + len(b"file_crc32"):
            continue  # without its name the checksum is a note like any other, and the tensors are sound
        damaged = bytearray(content)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        with pytest.raises(
            CheckpointError, match=r"w\.safetensors is (damaged \(its checksum|truncated or not)"
        ):
            files.load_tensors(path)
    path.write_bytes(content)
    assert files.load_tensors(path)[0]["w"].tolist() == list(range(8))


def test_files_of_others_have_no_checksum(tmp_path: Path) -> None:
    safetensors.torch.save_file({"w": torch.ones(2)}, tmp_path / "w", {"format": "pt"})
    assert files.load_tensors(tmp_path / "w")[1] == files.verify_tensors(tmp_path / "w") == {"format": "pt"}
    safetensors.torch.save_file({"w": torch.ones(2)}, tmp_path / "w", None)
    assert files.load_tensors(tmp_path / "w")[1] == {}


@pytest.mark.parametrize("links", [True, False])
def test_what_is_replaced_can_be_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")  # as file systems without links do

    if not links:
        monkeypatch.setattr(os, "link", refuse)
    path, former = tmp_path / "w", tmp_path / "former"
    for step in range(3):
        files.save_tensors(path, {"w": torch.tensor(step)}, former=former)
        assert names(tmp_path) == (["former", "w"] if step else ["w"])
    assert files.load_tensors(path)[0]["w"] == 2 and files.load_tensors(former)[0]["w"] == 1


def test_require_writable_accepts_folders_to_be_and_leaves_nothing(tmp_path: Path) -> None:
    files.require_writable(tmp_path)
    files.require_writable(tmp_path / "studies" / "first")
    assert names(tmp_path) == []


def test_require_writable_refuses_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(StudyError, match="is a file"):
        files.require_writable(tmp_path / "taken" / "study")


def test_require_writable_refuses_a_folder_without_rights() -> None:
    # /proc refuses root too, whom no file mode stops.
    with pytest.raises(StudyError, match="cannot be written"):
        files.require_writable("/proc/study")
