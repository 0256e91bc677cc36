"""Wrong requests: exit code 2, one clear sentence on stderr, nothing written."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from nas.pipeline.plan import plan_search
from nas.pipeline.request import SearchRequest
from search_spaces.declaration import parse_declaration
from supernet.supernet import Supernet
from tests.helpers.command_line import TINY_SPACE, Nas, paint_folder, tree
from tests.helpers.patience import PATIENCE

SEARCH = "search --space {space} --data folder:{images} --budget 1cpu --epochs 1 --study {tmp}/study"
Setup = Callable[[Path], None]
#: Databases that stay open, as another process would keep them: closing one rewrites its files.


def nothing(tmp: Path) -> None:
    pass


def text(name: str, content: str) -> Setup:
    """Write a file."""

    def setup(tmp: Path) -> None:
        (tmp / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp / name).write_text(content)

    return setup


def altered(old: str, new: str) -> Setup:
    """Write the tiny space with one part replaced."""
    assert old in TINY_SPACE
    return text("odd.yaml", TINY_SPACE.replace(old, new, 1))


def painted(change: Setup | None = None, **how: int) -> Setup:
    """Paint images to spoil."""

    def setup(tmp: Path) -> None:
        paint_folder(tmp / "set", **how)
        if change is not None:
            change(tmp)

    return setup


def corrupt(tmp: Path) -> None:
    path = tmp / "set" / "class1" / "05.png"
    path.write_bytes(path.read_bytes()[:60] + bytes(40))


def studied(change: Setup | None = None) -> Setup:
    """Make a study of painted images as a search does before it trains."""

    def setup(tmp: Path) -> None:
        paint_folder(tmp / "set")
        given = {"space": str(tmp / "tiny.yaml"), "data": f"folder:{tmp / 'set'}", "epochs": 1}
        (tmp / "tiny.yaml").write_text(TINY_SPACE)
        plan = plan_search(SearchRequest(given, budget="1cpu", study=str(tmp / "study")))
        plan.study.create(plan.settings, plan.dataset_info, plan.declaration, plan.storage_url, [])
        if change is not None:
            change(tmp)

    return setup


def more_images(tmp: Path) -> None:
    shutil.copy(tmp / "set" / "class0" / "00.png", tmp / "set" / "class0" / "99.png")


def foreign_weights(tmp: Path) -> None:
    save_file({"weight": torch.zeros(3)}, tmp / "w.safetensors")


def own_weights(tmp: Path) -> None:
    space = parse_declaration(TINY_SPACE, "tiny.yaml").space("nano", 16, 3, 3)
    save_file(Supernet(space).state_dict(), tmp / "w.safetensors")


def truncated_weights(tmp: Path) -> None:
    save_file({"weight": torch.zeros(1000)}, tmp / "w.safetensors")
    path = tmp / "w.safetensors"
    path.write_bytes(path.read_bytes()[:500])


def damaged_export(tmp: Path) -> None:
    text("export/config.json", "{}")(tmp)
    text("export/model.safetensors", "")(tmp)


def damaged_result(tmp: Path) -> None:
    text("study/retrained/abc/scratch/result.json", "{")(tmp)


ARCHITECTURE = json.dumps({"format": 99, "stages": []})
OWN = "search --space {tmp}/tiny.yaml --data folder:{tmp}/set --budget 1cpu --epochs 1 --study {tmp}/study"
CONFIG = "search --config {tmp}/study.yaml --budget 1cpu --study {tmp}/study"


@dataclass(frozen=True)
class Case:
    """One wrong request: its command line, what the sentence must say, and what lies there before."""

    name: str
    command: str
    says: str
    setup: Setup = nothing


CASES = [
    # spaces
    Case("unknown space", "search --space twins_cswim", "did you mean 'twins_cswin'"),
    Case("malformed YAML", "search --space {tmp}/odd.yaml", "not valid YAML", text("odd.yaml", "name: [")),
    Case("YAML is no mapping", "search --space {tmp}/odd.yaml", "must be a mapping", text("odd.yaml", "- a")),
    Case("empty YAML", "search --space {tmp}/odd.yaml", "must be a mapping", text("odd.yaml", "")),
    Case("space is binary", "search --space {tmp}/set/class0/00.png", "cannot read the space", painted()),
    Case("unknown key", "search --space {tmp}/odd.yaml", "did you mean 'depth'", altered("depth", "dept")),
    Case(
        "window larger than the map",
        "search --space {tmp}/odd.yaml",
        "window_size 64",
        altered("window_size: [2, 4]", "window_size: [2, 64]"),
    ),
    Case(
        "unknown operator", "search --space {tmp}/odd.yaml", "unknown operator 'lsaa'", altered("lsa", "lsaa")
    ),
    Case(
        "misfit encoding",
        "search --space {tmp}/odd.yaml",
        "does not admit",
        altered("dynamic: [none], pos: [none]", "dynamic: [none], pos: [lepe]"),
    ),
    Case(
        "duplicate YAML key",
        "search --space {tmp}/odd.yaml",
        "'name' is written twice",
        altered("name: tiny\n", "name: tiny\nname: tinier\n"),
    ),
    Case("unknown scale", SEARCH + " --scale nanno", "did you mean 'nano'"),
    Case("image size without scale", SEARCH + " --image-size 100", "no scale is meant for images of 100 px"),
    Case("images too small", SEARCH + " --image-size 4", "too small"),
    # images
    Case("unknown data", "search --space {space} --data mnist6k", "did you mean 'mnist5k'"),
    Case("data folder absent", "search --space {space} --data folder:{tmp}/no", "does not exist"),
    Case("data folder is a file", "search --space {space} --data folder:{space}", "is a file"),
    Case("empty data folder", "search --space {space} --data folder:{tmp}", "no class folders"),
    Case("one class", "search --space {space} --data folder:{tmp}/set", "single class", painted(classes=1)),
    Case("too few images", "search --space {space} --data folder:{tmp}/set", "too few", painted(images=2)),
    Case(
        "empty class",
        "search --space {space} --data folder:{tmp}/set",
        "holds no images",
        painted(lambda tmp: (tmp / "set" / "class9").mkdir()),
    ),
    Case(
        "corrupt image",
        "search --space {space} --data folder:{tmp}/set --study {tmp}/study",
        "05.png cannot be decoded",
        painted(corrupt),
    ),
    # budgets
    Case("empty budget", SEARCH + " --budget ''", "--budget '' cannot be read"),
    Case("misspelt budget", SEARCH + " --budget 8gup", "'8gup' is not understood"),
    Case("no machine at all", SEARCH + " --budget 0cpu", "asks for nothing"),
    Case("no trials", SEARCH + " --budget 1cpu,0trials", "allows nothing"),
    Case("limit set twice", SEARCH + " --budget 1cpu,5trials,6trials", "was set before"),
    Case("more GPUs than there are", SEARCH + " --budget 512gpu", "asks for 512 GPUs but this machine has"),
    Case("more cores than there are", SEARCH + " --budget 9999cpu", "asks for 9999 CPU cores"),
    # what is searched for
    Case("unknown objective", SEARCH + " --objective top1,mac", "did you mean 'macs'"),
    Case("no objective", SEARCH + " --objective ''", "unknown objective ''"),
    Case("objective twice", SEARCH + " --objective top1,top1", "given twice"),
    Case("bad max-macs", SEARCH + " --max-macs 600X", "such as 600M"),
    Case("negative max-params", SEARCH + " --max-params=-5", "must be a positive number"),
    Case("unknown bench", "bench operator", "did you mean 'operators'?"),
    Case("unknown device", "bench --device gpu", "known: auto, cpu, cuda"),
    Case("table and results in one file", "bench latency search --out {tmp}/x.json", "run latency alone"),
    Case("maps that windows do not divide", "bench operators --image-size 100", "multiple of 112"),
    Case("negative latency", SEARCH + " --max-latency-ms=-1", "must be a positive number"),
    Case("unknown sampler", SEARCH + " --sampler nsga3", "did you mean 'nsga2'"),
    Case("unknown policy", SEARCH + " --policy sandwitch", "did you mean 'sandwich'"),
    Case("unknown sharing", SEARCH + " --sharing blocks", "did you mean 'block'"),
    Case("batch 0", SEARCH + " --batch 0", "--batch must be at least 1"),
    Case("no validation images", SEARCH + " --validation-images 0", "must be at least 1"),
    Case("epochs 0", SEARCH.replace("--epochs 1", "--epochs 0"), "epochs must be at least 1"),
    Case("retraining epochs 0", SEARCH + " --retrain-epochs 0", "epochs must be at least 1"),
    Case("batch of one image", SEARCH + " --batch-size 1", "batch_size must be at least 2, not 1"),
    Case("learning rate 0", SEARCH + " --lr 0", "lr must be a positive number, not 0"),
    Case("learning rate NaN", SEARCH + " --lr nan", "lr must be a positive number, not nan"),
    Case("racing at a toss", SEARCH + " --racing 0.5", "--racing must be a probability above 0"),
    Case("racing without accuracy", SEARCH + " --racing 0.1 --objective macs", "give --objective top1,macs"),
    Case("negative seed", SEARCH + " --seed=-1", "--seed must be between 0"),
    # studies
    Case("file in the way", SEARCH + "/a", "is a file", text("study", "")),
    Case("folder that takes no files", SEARCH.replace("{tmp}/study", "/proc/study"), "cannot be written"),
    Case("folder of something else", SEARCH, "holds no study", text("study/notes.txt", "mine")),
    Case("occupied study", OWN + " --seed 1", "was made with seed=0, not 1", studied()),
    Case("occupied study, recipe", OWN + " --lr 0.5", "recipe.lr=0.003, not 0.5", studied()),
    Case("raced from now on", OWN + " --racing 0.1 --objective top1,macs", "racing=None, not 0.1", studied()),
    Case("other images, same name", OWN, "made with other images", studied(more_images)),
    Case("damaged study.yaml", OWN, "study.yaml", studied(text("study/study.yaml", "space: [\n"))),
    Case("bad storage URL", SEARCH + " --storage nonsense", "cannot open the storage nonsense"),
    Case(
        "storage that does not answer",
        SEARCH + " --storage postgresql+psycopg://me:secret@127.0.0.1:1/db",
        "cannot open the storage postgresql+psycopg://me@127.0.0.1:1/db",
    ),
    Case("storage of an unknown kind", SEARCH + " --storage mangodb://x/y", "cannot open the storage"),
    Case("storage is no database", SEARCH + " --storage sqlite:///{space}", "not a database"),
    Case("storage nowhere", SEARCH + " --storage sqlite:////proc/x/s.db", "cannot be written"),
    # weights
    Case("missing --supernet", SEARCH + " --supernet {tmp}/w.safetensors", "there is no weights file"),
    Case(
        "foreign --supernet",
        SEARCH + " --supernet {tmp}/w.safetensors",
        "does not hold the supernet of tiny/nano",
        foreign_weights,
    ),
    Case(
        "truncated --supernet",
        SEARCH + " --supernet {tmp}/w.safetensors",
        "truncated",
        truncated_weights,
    ),
    Case("--supernet is a folder", SEARCH + " --supernet {tmp}", "is a folder"),
    # options that could change nothing
    Case("--data-dir for the digits", SEARCH + " --data mnist5k --data-dir {tmp}", "mnist5k is none of them"),
    Case("--data-dir for a folder", SEARCH + " --data-dir {tmp}", "is none of them; leave it out"),
    Case(
        "--supernet and --init-from",
        SEARCH + " --supernet w.safetensors --init-from twins_svt_small=a.pth",
        "leave --init-from out",
    ),
    Case(
        "--supernet and --epochs",
        SEARCH + " --supernet {tmp}/w.safetensors",
        "leave --epochs out",
        own_weights,
    ),
    Case(
        "--supernet and --policy",
        SEARCH.replace("--epochs 1", "--policy uniform") + " --supernet {tmp}/w.safetensors",
        "leave --policy out",
        own_weights,
    ),
    Case("--top and --arch", "retrain {tmp}/no --top 1 --arch twins_svt_small", "--top and --arch exclude"),
    Case("analyze: --data-dir alone", "analyze {tmp}/no --data-dir {tmp}", "add --data"),
    Case("evaluate: --data-dir", "evaluate {tmp} --data mnist5k --data-dir {tmp}", "leave it out"),
    # study.yaml as --config
    Case("no --config", CONFIG, "cannot read the settings"),
    Case("malformed --config", CONFIG, "cannot read the settings", text("study.yaml", "space: [")),
    Case("--config is no mapping", CONFIG, "must be a mapping", text("study.yaml", "- space")),
    Case("unknown setting", CONFIG, "did you mean 'seed'", text("study.yaml", "seeed: 1")),
    Case("unknown inner setting", CONFIG, "did you mean 'epochs'", text("study.yaml", "recipe: {epoch: 1}")),
    Case("wrong type", CONFIG, "setting 'seed'", text("study.yaml", "seed: many")),
    Case("wrong inner type", CONFIG, "setting 'recipe", text("study.yaml", "recipe: 7")),
    Case("bad value in --config", CONFIG, "unknown value 'tp'", text("study.yaml", "sampler: tp")),
    Case(
        "bad value beside --config",
        CONFIG + " --lr 0",
        "lr must be a positive number",
        text("study.yaml", "seed: 1"),
    ),
    Case(
        "bad storage beside --config",
        CONFIG + " --storage x",
        "open the storage x",
        text("study.yaml", "seed: 1"),
    ),
    Case("bad budget beside --config", CONFIG + " --budget 8gup", "'8gup'", text("study.yaml", "seed: 1")),
    # what follows a search
    Case("--export without --retrain", SEARCH + " --export", "add --retrain 1"),
    Case("retrain: no study", "retrain {tmp}/no", "there is no study"),
    Case("retrain: no front", "retrain {tmp}/study --budget 1cpu", "has no front yet", studied()),
    Case(
        "retrain: two exclusive options",
        "retrain {tmp}/study --from-scratch --inherit --budget 1cpu",
        "exclude one another",
        studied(),
    ),
    Case(
        "retrain: foreign design",
        "retrain {tmp}/study --arch twins_svt_small --budget 1cpu",
        "the smallest that it can take are 32x32 px",
        studied(),
    ),
    Case("export: no study", "export {tmp}/no", "there is no study"),
    Case("export: unknown format", "export {tmp}/no --format onx", "did you mean 'onnx'"),
    Case("export: nothing retrained", "export {tmp}/study", "has no retrained design", studied()),
    Case("export: damaged result", "export {tmp}/study", "cannot read", studied(damaged_result)),
    Case("evaluate: no export", "evaluate {tmp} --data mnist5k", "is not an export folder"),
    Case("evaluate: damaged export", "evaluate {tmp}/export --data mnist5k", "config.json", damaged_export),
    Case("predict: no export", "predict {tmp} {tmp}/a.png", "is not an export folder"),
    Case("report: no study", "report {tmp}/no", "there is no study"),
    Case("dashboard: no study", "dashboard {tmp}/no", "there is no study"),
    Case("dashboard: bad port", "dashboard {tmp}/no --port 0", "'--port'"),
    Case("show: unknown architecture", "show twins_svt_smal", "did you mean 'twins_svt_small'"),
    Case("show: malformed JSON", "show {tmp}/a.json", "cannot read", text("a.json", "{")),
    Case("show: JSON of something else", "show {tmp}/a.json", "a.json", text("a.json", "[1]")),
    Case("show: unknown format", "show {tmp}/a.json", "format 99", text("a.json", ARCHITECTURE)),
    Case("show: digest of no design", "show abc --study {tmp}/study", "has no design 'abc'", studied()),
    Case("show: digest of no study", "show abc --study {tmp}/no", "there is no study"),
    # the command line itself
    Case("unknown command", "serach", "no such command 'serach'"),
    Case("unknown option", "search --epoch 3", "no such option: --epoch"),
    Case("missing option value", "search --epochs", "'--epochs' requires an argument"),
    Case("option of wrong type", "search --epochs many", "'--epochs'"),
    Case("negative --retrain", "search --retrain=-1", "'--retrain'"),
    Case("missing argument", "retrain", "missing argument 'STUDY'"),
    Case("doctor: no study", "doctor {tmp}/no", "there is no study"),
    Case("argument too many", "doctor study all", "unexpected extra argument"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_wrong_request(
    case: Case,
    nas: Nas,
    space_file: Path,
    images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    case.setup(tmp_path)
    monkeypatch.chdir(tmp_path)
    before = tree(tmp_path)
    outcome = nas(*shlex.split(case.command.format(space=space_file, images=images, tmp=tmp_path)))
    lines = outcome.err.splitlines()
    assert outcome.code == 2, outcome
    assert len(lines) == 1 and lines[0].startswith("nas: "), outcome.err
    assert case.says in lines[0]
    assert not outcome.out
    assert "Traceback" not in outcome.err and "Error:" not in outcome.err
    assert "secret" not in outcome.err
    assert tree(tmp_path) == before


def test_kinds_are_many_and_distinct() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 32


def test_dead_cluster(nas: Nas, monkeypatch: pytest.MonkeyPatch) -> None:
    for address in ("127.0.0.1:1", "nonsense", "127.0.0.1:99999999"):
        monkeypatch.setenv("RAY_ADDRESS", address)
        outcome = nas("search", "--dry-run")
        assert outcome.code == 2
        assert outcome.err == (
            f"nas: the Ray cluster at {address} does not answer (nothing listens there); start it, or set "
            "RAY_ADDRESS=local to use this machine alone (docs/howto/cluster.md#one-machine-several-machines)\n"
        )


@pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere")
def test_folder_without_the_right_to_write(nas: Nas, tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    outcome = nas("search", "--budget", "1cpu", "--study", tmp_path / "closed" / "study")
    assert outcome.code == 2 and "cannot be written" in outcome.err


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments", ["search --space nowhere", "search --budget 512gpu", "export nowhere", "search --bogus"]
)
def test_real_process_ends_with_one_sentence(arguments: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "nas", *arguments.split()]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 2
    assert done.stderr.startswith("nas: ") and done.stderr.count("\n") == 1
    assert done.stdout == "" and not list(tmp_path.iterdir())


def test_help_is_no_error(nas: Nas) -> None:
    for arguments in ((), ("--help",), ("search", "--help")):
        outcome = nas(*arguments)
        assert outcome.code == 0 and not outcome.err and "Usage" in outcome.out
