"""Which network ``--teacher`` means: found, read without running code of it, refused where it cannot teach."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import timm
import torch

from nas.cluster.budget import WorkerAllocation
from nas.data.dataset import Data, load_data
from nas.pipeline import teaching
from nas.pipeline.exports import export_result
from nas.pipeline.teachers import describe_teacher, find_teacher, find_teacher_of_supernet
from nas.pipeline.teaching import prepare_teacher, with_known_accuracy
from nas.runtime.files import load_tensors, save_tensors
from nas.runtime.uncertainty import Accuracy
from nas.study.folder import Study
from nas.study.recipe import Recipe
from nas.study.settings import Settings
from nas.study.teacher_spec import TeacherSpec, parse_teacher
from nas.training.stored_answers import StoredAnswers, TrainingTeacher
from nas.training.teacher import Teacher
from search_spaces.architecture import Architecture
from search_spaces.errors import NasError, RequestError
from supernet.subnet import build_subnet
from tests.helpers.command_line import Nas, paint_folder

OLD = Path(__file__).parents[2] / "golden" / "old_study"
DIGEST = "ce7caaf679bc"


@pytest.fixture(scope="module")
def data(images: Path) -> Data:
    return load_data(f"folder:{images}")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a study and an export, and the working directory there."""
    shutil.copytree(OLD, tmp_path / "studies" / "old")
    shutil.copytree(OLD / "exports" / DIGEST, tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def find(text: str, data: Data, study: Study | None = None) -> Teacher:
    found = find_teacher(text, data, study)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("largest", TeacherSpec("largest")),
        ("timm:resnet18.a1_in1k", TeacherSpec("timm", "resnet18.a1_in1k")),
        ("timm:resnet18=a=b.pth", TeacherSpec("timm", "resnet18", "a=b.pth")),
        ("studies/a:0123456789ab", TeacherSpec("study", "0123456789ab", "studies/a")),
        ("exports/0123456789ab", TeacherSpec("export", place="exports/0123456789ab")),
        ("a:b/model", TeacherSpec("export", place="a:b/model")),
    ],
)
def test_a_teacher_is_typed_in_four_ways(text: str, spec: TeacherSpec) -> None:
    assert parse_teacher(text) == spec and spec.text == text


@pytest.mark.parametrize("text", ["timm:", "timm:=a", "timm:resnet18=", "", " "])
def test_half_of_a_teacher_is_refused(text: str) -> None:
    with pytest.raises(RequestError, match=r"--teacher .*must be"):
        parse_teacher(text)


def test_an_export_answers_as_its_network_does(place: Path, data: Data) -> None:
    """Its logits, by the weights of the retrained design that it was made of, images normalised as they were then."""
    teacher = find("model", data)
    info = json.loads((OLD / "data.json").read_text())
    weights, _ = load_tensors(OLD / "retrained" / DIGEST / "inherit" / "model.safetensors")
    config = json.loads((OLD / "exports" / DIGEST / "config.json").read_text())
    network = build_subnet(Architecture.from_json(config["architecture"])).eval()
    network.load_state_dict(weights)
    images, _ = next(data.val.batches(4))
    pixels = images * torch.tensor(data.std).view(-1, 1, 1) + torch.tensor(data.mean).view(-1, 1, 1)
    own = (pixels - torch.tensor(info["mean"]).view(-1, 1, 1)) / torch.tensor(info["std"]).view(-1, 1, 1)
    with torch.no_grad():
        expected = network(own)
    torch.testing.assert_close(teacher.on(torch.device("cpu"), data)(images), expected, atol=1e-5, rtol=1e-5)
    assert (teacher.macs, teacher.params) == (config["macs"], config["params"])
    assert teacher.class_names == ("class0", "class1", "class2")


def test_a_retrained_design_is_the_export_of_it(place: Path, data: Data) -> None:
    """The better of both modes teaches; the study is found by its name."""
    top1 = {
        mode: json.loads((OLD / "retrained" / DIGEST / mode / "result.json").read_text())["val_top1"]
        for mode in ("scratch", "inherit")
    }
    assert top1["inherit"] >= top1["scratch"]
    assert find(f"old:{DIGEST}", data).digest == find("model", data).digest


def test_foreign_code_in_an_export_never_runs(place: Path, data: Data) -> None:
    expected = find("model", data).digest
    (place / "model" / "model.py").write_text("import pathlib\npathlib.Path('touched').touch()\n")
    (place / "model" / "__init__.py").write_text("import pathlib\npathlib.Path('touched').touch()\n")
    assert find("model", data).digest == expected
    (place / "model" / "model.py").unlink()
    assert find("model", data).digest == expected
    assert not (place / "touched").exists()


class Hostile:
    """Touches a file when it is unpickled."""

    def __reduce__(self) -> Any:
        return Path("touched").touch, ()


def test_a_pickle_that_asks_for_code_is_refused(place: Path, data: Data) -> None:
    torch.save({"fc.weight": torch.zeros(3, 512), "other": Hostile()}, place / "evil.pth")
    with pytest.raises(NasError, match="is not a torch file of plain weights"):
        find("timm:resnet18=evil.pth", data)
    assert not (place / "touched").exists()


def break_weights(place: Path) -> None:
    path = place / "model" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-50])


def lose_weights(place: Path) -> None:
    (place / "model" / "model.safetensors").unlink()


def change_weights(place: Path) -> None:
    tensors, _ = load_tensors(place / "model" / "model.safetensors")
    tensors.pop(next(iter(tensors)))
    save_tensors(place / "model" / "model.safetensors", tensors)


def break_config(place: Path) -> None:
    (place / "model" / "config.json").write_text("{")


def lose_mean(place: Path) -> None:
    path = place / "model" / "config.json"
    config = json.loads(path.read_text())
    del config["mean"]
    path.write_text(json.dumps(config))


def claim_classes(place: Path) -> None:
    path = place / "model" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "num_classes": 2, "class_names": []}))


@pytest.mark.parametrize(
    "damage", [break_weights, lose_weights, change_weights, break_config, lose_mean, claim_classes]
)
def test_a_damaged_export_is_one_sentence(damage: Any, place: Path, data: Data) -> None:
    damage(place)
    with pytest.raises(RequestError, match="model") as error:
        find("model", data)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("nosuch", r"nosuch is no export folder \(no config.json\)"),
        ("timm:resnot18", "timm has no such network .*did you mean 'resnet18'"),
        ("timm:resnet18=nosuch.pth", "there is no checkpoint nosuch.pth"),
        ("timm:resnet18=model/model.safetensors", "has no classifier"),
        (f"nosuch:{DIGEST}", "there is no study in studies/nosuch"),
        ("old:0123456789ab", "has no retrained design '0123456789ab'"),
        ("largest", "there is none; give another teacher"),
    ],
)
def test_what_is_not_there_is_one_sentence(text: str, says: str, place: Path, data: Data) -> None:
    with pytest.raises(RequestError, match=says) as error:
        find_teacher(text, data)
    assert "\n" not in str(error.value)


def test_weights_that_cannot_be_fetched_are_one_sentence(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(name: str, pretrained: bool) -> Any:
        raise OSError("we cannot connect\nto the hub")

    monkeypatch.setattr(timm, "create_model", unreachable)
    with pytest.raises(
        RequestError, match=r"cannot be fetched \(.*we cannot connect.*\); give them as"
    ) as error:
        find("timm:resnet18.a1_in1k", data)
    assert "\n" not in str(error.value)


@pytest.fixture
def timm_file(place: Path) -> Path:
    """Weights of a network of timm with three classes."""
    torch.manual_seed(3)
    network = timm.create_model("resnet10t", num_classes=3)
    save_tensors(place / "resnet.safetensors", network.state_dict())
    return place / "resnet.safetensors"


def test_weights_of_timm_in_a_file_teach(timm_file: Path, data: Data) -> None:
    teacher = find(f"timm:resnet10t={timm_file}", data)
    network = timm.create_model("resnet10t", num_classes=3).eval()
    network.load_state_dict(load_tensors(timm_file)[0])
    wanted = network.pretrained_cfg
    assert teacher.input_size == wanted["input_size"] and teacher.mean == wanted["mean"]
    # 1.1 G multiply-adds at 224 px, as timm's benchmark tables give for 5.4 M parameters with 1000 classes.
    side = wanted["input_size"][1]
    assert teacher.macs / side**2 * 224**2 == pytest.approx(1.11e9, rel=0.05)
    images = torch.randn(2, *wanted["input_size"])
    same = replace(data, mean=teacher.mean, std=teacher.std)
    with torch.no_grad():
        torch.testing.assert_close(teacher.on(torch.device("cpu"), same)(images), network(images))


def test_a_config_beside_the_file_says_what_images_it_wants(timm_file: Path, data: Data) -> None:
    config = {
        "architecture": "resnet10t",
        "pretrained_cfg": {"input_size": [3, 16, 16], "mean": [0.1, 0.2, 0.3], "std": [0.5, 0.5, 0.5]},
        "label_names": ["class0", "class2", "class1"],
    }
    (timm_file.parent / "config.json").write_text(json.dumps(config))
    with pytest.raises(RequestError, match=r"class 1 of --teacher .* is 'class2' but that of the images is"):
        find(f"timm:resnet10t={timm_file}", data)
    (timm_file.parent / "config.json").write_text(json.dumps({**config, "label_names": None}))
    teacher = find(f"timm:resnet10t={timm_file}", data)
    assert (teacher.input_size, teacher.mean) == ((3, 16, 16), (0.1, 0.2, 0.3))


def test_weights_of_another_network_of_timm_are_refused(timm_file: Path, data: Data) -> None:
    with pytest.raises(RequestError, match=r"does not hold the weights of timm's resnet18") as error:
        find(f"timm:resnet18={timm_file}", data)
    assert "\n" not in str(error.value)


def test_other_classes_are_refused(place: Path) -> None:
    other = load_data(f"folder:{paint_folder(place / 'four', classes=4)}")
    with pytest.raises(RequestError, match="tells 3 classes apart but the images have 4"):
        find("model", other)


def test_the_largest_path_teaches_with_statistics_of_its_own(place: Path, data: Data) -> None:
    study = Study(place / "studies" / "old")
    teacher = find("largest", data, study)
    assert teacher.network.training is False and teacher.num_classes == 3
    (study.supernet_file).unlink()
    with pytest.raises(RequestError, match="is not trained yet"):
        find("largest", data, study)


def test_what_a_teacher_costs_is_said(place: Path, data: Data) -> None:
    """Its forward beside forward and backward, three forwards, of its student."""
    teacher = find("model", data)
    assert describe_teacher(replace(teacher, macs=300), 300).endswith("about 25% of a step's multiply-adds")


def test_what_is_known_of_a_teacher_is_said(place: Path, data: Data) -> None:
    teacher = replace(find("model", data), accuracy=Accuracy(90.0, 100))
    said = describe_teacher(teacher, 300, Recipe(teacher_images="clean"))
    assert said.endswith("px, asked once about each, 90.0 ± 3.0% validation top-1")


def prepare(study: Study, data: Data, images: str) -> TrainingTeacher:
    allocation = WorkerAllocation(2, 1.0, 0.0, "cpu")
    recipe, teacher = Recipe(teacher_images=images), find("model", data)
    found = prepare_teacher(teacher, recipe, study, data, allocation, one_machine=True)
    assert found is not None and found.digest == teacher.digest
    return found


def test_a_teacher_is_prepared_once(place: Path, data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    """By one worker: its accuracy first, then its answers where the recipe keeps them; nothing is asked twice."""
    study, runs = Study(place / "studies" / "old"), []

    def run_here(function: Any, payload: Any, allocation: WorkerAllocation, on_progress: Any) -> None:
        runs.append(allocation.workers)
        function(payload, torch.device("cpu"), on_progress)

    monkeypatch.setattr(teaching, "run_distributed", run_here)
    for images in ("varied", "varied"):
        found = prepare(study, data, images)
        assert isinstance(found, Teacher) and runs == [1]
    for images in ("clean", "clean"):
        stored = prepare(study, data, images)
        assert isinstance(stored, StoredAnswers) and runs == [1, 1]
        assert stored.accuracy == found.accuracy
    known = with_known_accuracy(find("model", data), study, data).accuracy
    assert known == found.accuracy and known is not None and known.images == len(data.val)
    assert sorted(path.name for path in study.teacher_folder.iterdir()) == [
        f"{found.digest[:16]}.json",
        f"{found.digest[:16]}.safetensors",
    ]


def test_the_model_card_says_who_taught(place: Path) -> None:
    study = Study(place / "studies" / "old")
    taught_by = {"name": "timm:resnet18", "digest": "0123456789abcdef", "val_top1": 90.0, "val_images": 100}
    result = {**study.results()[0], "teacher": taught_by}
    export_result(study, result, place / "taught", (), command=["nas", "export", "my study"])
    card = (place / "taught" / "README.md").read_text()
    assert "| teacher | timm:resnet18 (0123456789ab) |" in card
    assert "| made by | `nas export 'my study'` |" in card
    assert "| teacher's top-1 on the validation images | 90.0 ± 3.0% |" in card


def test_a_search_that_keeps_too_many_answers_is_refused(place: Path, data: Data) -> None:
    settings = Settings(teacher="largest", retraining=Recipe(teacher_images="clean"))
    many = replace(data, class_names=cast(Any, range(10**8)))
    with pytest.raises(RequestError, match=r"retraining\.teacher_images is clean, but"):
        find_teacher_of_supernet(settings, Study(place / "studies" / "new"), many)


def test_a_search_plans_its_teacher(nas: Nas, place: Path, space_file: Path, images: Path) -> None:
    words = ("search", "--space", space_file, "--data", f"folder:{images}", "--budget", "1cpu")
    outcome = nas(*words, "--teacher", "model", "--dry-run", "--json")
    assert outcome.code == 0, outcome.err
    plan = json.loads(outcome.out)
    assert plan["teacher"] == "model" and plan["settings"]["teacher"] == "model"
    (line,) = (line for line in plan["lines"] if line.startswith("teacher"))
    assert re.fullmatch(
        r"teacher   model: [\d.]+k parameters, [\d.]+k MACs an image of 16x16 px, about \d+% of a step's .*",
        line,
    ), line
    outcome = nas(*words, "--teacher", "largest", "--dry-run", "--json")
    assert json.loads(outcome.out)["teacher"] is None
    assert "teacher   largest, in retraining" in json.loads(outcome.out)["lines"]
