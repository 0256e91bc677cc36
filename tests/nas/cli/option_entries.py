"""What every option of every command does, or why it is refused: `test_every_option` tries each."""

from __future__ import annotations

from pathlib import Path

from tests.nas.cli.model_file_entries import MODEL_FILES
from tests.nas.cli.option_entry import Entry, of, on_device, on_no_cluster

OLD = Path(__file__).parents[2] / "golden" / "old_study"
DIGEST = "ce7caaf679bc"
SEARCH = (
    *("search", "--space", "tiny.yaml", "--data", "folder:images", "--budget", "1cpu,4trials"),
    *("--study", "./new", "--lr", "0.001", "--dry-run", "--json"),
)
RUN = tuple(word for word in SEARCH if word not in ("--dry-run", "--json"))
FEW = tuple("few.yaml" if word == "tiny.yaml" else word for word in RUN)
RETRAIN = ("retrain", "study", "--budget", "1cpu")
RANK = ("rank", "study", "--designs", "4", "--budget", "1cpu")
TABLE = ("rank", "study", "--table", "trainings.json")
BENCH = ("bench", "operators", "search", "compile")
WHOLE = ("search", "--budget", "1cpu,4trials", "--study", "./new", "--lr", "0.001", "--dry-run", "--json")
AGAIN = ("search", "--from-study", "study", "--budget", "1cpu")
COSTS = (
    *("search", "--space", "tiny.yaml", "--data", "folder:images"),
    *("--budget", "1cpu", "--objective", "macs"),
)
ENTRIES: dict[str, dict[str, Entry]] = {
    "nas": {"--version": of(("spaces",), "--version")},
    "search": {
        "--ray-address": on_no_cluster(SEARCH),
        "--space": of(SEARCH, "--space", "other.yaml", refusals=[(*AGAIN, "--space", "tiny.yaml")]),
        "--scale": of(
            SEARCH,
            *("--scale", "nano"),
            refusals=[(*SEARCH, "--scale", "huge"), (*AGAIN, "--scale", "nano")],
        ),
        "--data": of(SEARCH, "--data", "folder:more", refusals=[(*AGAIN, "--data", "mnist5k")]),
        "--data-dir": of(
            (*SEARCH, "--data", "torch/image_folder"),
            *("--data-dir", "images"),
            refusals=[
                (*SEARCH, "--data-dir", "images"),
                (*SEARCH, "--data", "mnist5k", "--data-dir", "images"),
            ],
        ),
        "--image-size": of(SEARCH, "--image-size", "32", refusals=[(*AGAIN, "--image-size", "32")]),
        "--test-crop": of(
            (*SEARCH, "--image-size", "96", "--scale", "nano"),
            *("--test-crop", "0.9"),
            refusals=[(*SEARCH, "--test-crop", "0.9"), (*AGAIN, "--test-crop", "0.9")],
        ),
        "--skip-broken": of(
            SEARCH,
            "--skip-broken",
            refusals=[(*SEARCH, "--data", "mnist5k", "--skip-broken"), (*AGAIN, "--skip-broken")],
        ),
        "--objective": of(SEARCH, "--objective", "top1,params"),
        "--max-macs": of(SEARCH, "--max-macs", "1M"),
        "--max-params": of(SEARCH, "--max-params", "1M"),
        "--max-latency-ms": of(SEARCH, "--max-latency-ms", "1e6"),
        "--latency-table": of(
            SEARCH,
            *("--latency-table", "table.json"),
            refusals=[
                (*SEARCH, "--latency-table", "table.json", "--latency-runtime", "onnxruntime"),
            ],
        ),
        "--latency-runtime": of(
            (*SEARCH, "--max-latency-ms", "5"),
            *("--latency-runtime", "onnxruntime"),
            refusals=[(*SEARCH, "--latency-runtime", "onnxruntime")],
        ),
        "--sampler": of(SEARCH, "--sampler", "random"),
        "--batch": of(SEARCH, "--batch", "7"),
        "--ahead": of(SEARCH, "--ahead", "1", refusals=[(*SEARCH, "--ahead", "1", "--sampler", "tpe")]),
        "--validation-images": of(
            SEARCH, "--validation-images", "5", refusals=[(*COSTS, "--validation-images", "5")]
        ),
        "--racing": of(
            SEARCH, "--racing", "0.1", "--objective", "top1,macs", refusals=[(*COSTS, "--racing", "0.1")]
        ),
        "--policy": of(
            SEARCH,
            *("--policy", "fair"),
            refusals=[
                (*SEARCH, "--policy", "fair", "--supernet", "own.safetensors"),
                (*COSTS, "--policy", "fair"),
            ],
        ),
        "--paths": of(
            SEARCH,
            *("--paths", "by-cost"),
            refusals=[
                (*SEARCH, "--paths", "by-cost", "--supernet", "own.safetensors"),
                (*SEARCH, "--paths", "by-cost", "--policy", "fair"),
                (*COSTS, "--paths", "by-cost"),
            ],
        ),
        "--sharing": of(SEARCH, "--sharing", "block", refusals=[(*COSTS, "--sharing", "block")]),
        "--supernet": of(
            SEARCH, "--supernet", "own.safetensors", refusals=[(*COSTS, "--supernet", "own.safetensors")]
        ),
        "--init-from": of(
            SEARCH,
            *("--init-from", "cswin_tiny=small.pth"),
            refused="--init-from cswin_tiny is not a point of space",
            refusals=[
                (*SEARCH, "--init-from", "cswin_tiny=a.pth", "--supernet", "own.safetensors"),
                (*COSTS, "--init-from", "cswin_tiny=a.pth"),
            ],
        ),
        "--teacher": of(
            SEARCH,
            *("--teacher", "model"),
            refusals=[
                (*SEARCH, "--teacher", "nosuch"),
                (*SEARCH, "--teacher", "timm:"),
                (*SEARCH, "--teacher", "timm:resnot18"),
                (*SEARCH, "--teacher", f"study:{'0' * 12}"),
                (*SEARCH, "--data", "folder:more", "--teacher", "model"),
                (*AGAIN, "--teacher", "model"),
            ],
        ),
        "--compile": of(SEARCH, "--compile", refusals=[(*AGAIN, "--compile")]),
        "--seed": of(SEARCH, "--seed", "3"),
        "--epochs": of(
            SEARCH,
            *("--epochs", "3"),
            refusals=[
                (*SEARCH, "--epochs", "3", "--supernet", "own.safetensors"),
                (*COSTS, "--epochs", "3"),
                (*AGAIN, "--epochs", "3"),
            ],
        ),
        "--recipe": of(
            SEARCH,
            *("--recipe", "cifar"),
            refusals=[
                (*SEARCH, "--recipe", "no"),
                (*SEARCH, "--recipe", "no.yaml"),
                (*AGAIN, "--recipe", "cifar"),
            ],
        ),
        "--batch-size": of(SEARCH, "--batch-size", "6"),
        "--lr": of(SEARCH, "--lr", "0.5"),
        "--retrain-epochs": of(SEARCH, "--retrain-epochs", "3"),
        "--budget": of(SEARCH, "--budget", "1cpu,9trials"),
        "--study": of(SEARCH, "--study", "./elsewhere"),
        "--storage": of(SEARCH, "--storage", "sqlite:///trials.db"),
        "--storage-file": of(
            SEARCH,
            *("--storage-file", "url.txt"),
            refusals=[(*SEARCH, "--storage-file", "url.txt", "--storage", "sqlite:///trials.db")],
        ),
        "--config": of(WHOLE, "--config", "settings.yaml", refusals=[(*AGAIN, "--config", "settings.yaml")]),
        "--from-study": of(
            ("search", "--budget", "1cpu,4trials", "--study", "./new", "--dry-run", "--json"),
            *("--from-study", "study"),
            refusals=[("search", "--from-study", "nosuch"), (*AGAIN, "--init-from", "cswin_tiny=a.pth")],
        ),
        "--join": of(
            SEARCH,
            "--join",
            refusals=[(*SEARCH, "--join", "--retrain", "2"), (*RUN, "--join", "--gate", "0.5")],
        ),
        "--gate": of(RUN, "--gate", "0.5", refusals=[(*COSTS, "--gate", "0.5"), (*FEW, "--gate", "0.5")]),
        "--retrain": of(SEARCH, "--retrain", "2"),
        "--candidates": of(
            (*SEARCH, "--retrain", "2"),
            *("--candidates", "5"),
            refusals=[
                (*SEARCH, "--candidates", "5"),
                (*SEARCH, "--retrain", "2", "--candidates", "1"),
                (*COSTS, "--retrain", "2", "--candidates", "5"),
            ],
        ),
        "--baselines": of((*SEARCH, "--retrain", "1"), "--baselines", refusals=[(*SEARCH, "--baselines")]),
        "--export": of((*SEARCH, "--retrain", "1"), "--export", refusals=[(*SEARCH, "--export")]),
        "--track": of(
            RUN,
            "--track",
            "tensorboard",
            refusals=[(*RUN, "--track", "wandb"), (*RUN, "--track", "mlflow", "--join")],
        ),
        "--dry-run": of(RUN, "--dry-run"),
        "--json": of((*RUN, "--dry-run"), "--json"),
    },
    "retrain": {
        "--ray-address": on_no_cluster(RETRAIN),
        "--track": of(RETRAIN, "--track", "mlflow", refusals=[(*RETRAIN, "--track", "wandb")]),
        "--top": of(RETRAIN, "--top", "2", refusals=[(*RETRAIN, "--top", "1", "--arch", DIGEST)]),
        "--candidates": of(
            RETRAIN,
            *("--candidates", "2"),
            refusals=[
                (*RETRAIN, "--top", "3", "--candidates", "2"),
                (*RETRAIN, "--arch", DIGEST, "--candidates", "2"),
                (*RETRAIN, "--inherit", "--candidates", "2"),
            ],
        ),
        "--arch": of(RETRAIN, "--arch", "dwnet_tiny", refusals=[(*RETRAIN, "--arch", "dwnet_tinny")]),
        "--baselines": of(RETRAIN, "--baselines"),
        "--from-scratch": of(RETRAIN, "--from-scratch", refusals=[(*RETRAIN, "--from-scratch", "--inherit")]),
        "--inherit": of(RETRAIN, "--inherit", refusals=[(*RETRAIN, "--inherit", "--arch", "dwnet_tiny")]),
        "--epochs": of(RETRAIN, "--epochs", "3"),
        "--recipe": of(
            (*RETRAIN, "--epochs", "1"), *("--recipe", "cifar"), refusals=[(*RETRAIN, "--recipe", "no")]
        ),
        "--teacher": of(
            RETRAIN,
            *("--teacher", "model"),
            refusals=[
                (*RETRAIN, "--teacher", "nosuch"),
                (*RETRAIN, "--teacher", "timm:resnet18=nosuch.pth"),
                (*RETRAIN, "--teacher", "timm:resnet18=small.pth"),
                (*RETRAIN, "--teacher", f"study:{'0' * 12}"),
            ],
        ),
        "--compile": of(RETRAIN, "--compile"),
        "--budget": of(
            RETRAIN,
            *("--budget", "2cpu"),
            refusals=[
                ("retrain", "study", "--budget", "1cpu,2h"),
                ("retrain", "study", "--budget", "1cpu,9trials"),
            ],
        ),
        "--json": of(RETRAIN, "--json"),
    },
    "rank": {
        "--ray-address": on_no_cluster(RANK),
        "--designs": of(
            RANK, "--designs", "5", refusals=[(*RANK, "--designs", "3"), (*TABLE, "--designs", "5")]
        ),
        "--repeated": of(
            RANK, "--repeated", "2", refusals=[(*TABLE, "--repeated", "2"), (*RANK, "--repeated", "5")]
        ),
        "--epochs": of(RANK, "--epochs", "3", refusals=[(*TABLE, "--epochs", "3")]),
        "--recipe": of(
            (*RANK, "--epochs", "1"),
            *("--recipe", "cifar"),
            refusals=[(*RANK, "--recipe", "no"), (*TABLE, "--recipe", "cifar")],
        ),
        "--table": of(
            ("rank", "study", "--budget", "1cpu"),
            *("--table", "trainings.json"),
            refusals=[
                ("rank", "study", "--table", "nosuch.json"),
                ("rank", "study", "--table", "others.json"),
                ("rank", "study", "--table", "few.json"),
            ],
        ),
        "--supernet": of(
            RANK,
            *("--supernet", "own.safetensors"),
            refusals=[
                (*RANK, "--supernet", "nosuch.safetensors"),
                (*RANK, "--supernet", "model/model.safetensors"),
            ],
        ),
        "--scores": of(
            RANK,
            *("--scores", "scores.json"),
            refusals=[
                (*RANK, "--scores", "trainings.json"),
                (*RANK, "--scores", "nan.json"),
                (*RANK, "--scores", "foreign.json"),
                (*TABLE, "--scores", "foreign.json"),
                (*RANK, "--scores", "supernet.json"),
                (*RANK, "--scores", "scores.json", "--scores", "more/scores.json"),
            ],
        ),
        "--budget": of(
            RANK,
            *("--budget", "2cpu"),
            refusals=[
                ("rank", "study", "--designs", "4", "--budget", "1cpu,2h"),
                ("rank", "study", "--designs", "4", "--budget", "1cpu,9trials"),
            ],
        ),
        "--json": of(RANK, "--json"),
    },
    **MODEL_FILES,
    "evaluate": {
        "--device": on_device(("evaluate", "model", "--data", "folder:images")),
        "--data": of(("evaluate", "model", "--data", "folder:images"), "--data", "mnist5k"),
        "--data-dir": of(
            ("evaluate", "model", "--data", "torch/image_folder"),
            *("--data-dir", "images"),
            refusals=[("evaluate", "model", "--data", "mnist5k", "--data-dir", "images")],
        ),
        "--skip-broken": of(
            ("evaluate", "model", "--data", "folder:images"),
            "--skip-broken",
            refusals=[("evaluate", "model", "--data", "mnist5k", "--skip-broken")],
        ),
        "--trust": of(("evaluate", "model", "--data", "folder:images"), "--trust"),
        "--json": of(("evaluate", "model", "--data", "folder:images"), "--json"),
    },
    "predict": {
        "--device": on_device(("predict", "model", "images/class0/00.png")),
        "--top": of(("predict", "model", "images/class0/00.png"), "--top", "2"),
        "--json": of(("predict", "model", "images/class0/00.png"), "--json"),
    },
    "report": {
        "--json": of(("report", "study"), "--json"),
        "--out": of(
            ("report", "study"),
            *("--out", "page.html"),
            refused="--out is for several studies",
        ),
    },
    "dashboard": {
        "--port": of(("dashboard", "study"), "--port", "9000"),
        "--stored": of(("dashboard", "study"), "--stored"),
    },
    "analyze": {
        "--data": of(("analyze", "study"), "--data", "folder:images"),
        "--data-dir": of(
            ("analyze", "study", "--data", "torch/image_folder"),
            *("--data-dir", "images"),
            refusals=[("analyze", "study", "--data-dir", "images")],
        ),
        "--skip-broken": of(
            ("analyze", "study", "--data", "folder:images"),
            "--skip-broken",
            refusals=[("analyze", "study", "--skip-broken")],
        ),
        "--images": of(("analyze", "study"), "--images", "8"),
        "--out": of(("analyze", "study"), "--out", "page.html"),
        "--json": of(("analyze", "study"), "--json"),
    },
    "data": {
        "--data-dir": of(
            ("data", "torch/image_folder"),
            *("--data-dir", "images"),
            refusals=[("data", "mnist5k", "--data-dir", "images")],
        ),
        "--image-size": of(("data", "folder:images"), "--image-size", "32"),
        "--skip-broken": of(
            ("data", "folder:broken"), "--skip-broken", refusals=[("data", "mnist5k", "--skip-broken")]
        ),
        "--json": of(("data", "folder:images"), "--json"),
    },
    "spaces": {
        "--yaml": of(
            ("spaces", "twins_cswin"),
            "--yaml",
            refusals=[("spaces", "--yaml"), ("spaces", "twins_cswin", "--yaml", "--json")],
        ),
        "--json": of(("spaces",), "--json"),
    },
    "recipes": {"--json": of(("recipes",), "--json")},
    "show": {
        "--study": of(
            ("show", "dwnet_tiny"), "--study", "study", refusals=[("show", "dwnet_tiny", "--study", "no")]
        ),
        "--at": of(
            ("show", "dwnet_tiny"),
            *("--at", "2G"),
            refusals=[("show", "dwnet_tiny", "--at", "much"), ("show", "dwnet_tiny", "--at", "1k")],
        ),
        "--json": of(("show", "dwnet_tiny"), "--json"),
    },
    "studies": {"--json": of(("studies", "."), "--json")},
    "doctor": {
        "--ray-address": of(
            ("doctor",), "--ray-address", "local", refusals=[("doctor", "study", "--ray-address", "local")]
        ),
        "--json": of(("doctor",), "--json"),
    },
    "bench": {
        "--out": of(BENCH, "--out", "bench.json"),
        "--html": of(BENCH, "--html", "bench.html"),
        "--device": on_device(BENCH),
        "--threads": of(BENCH, "--threads", "3", refusals=[("bench", "search", "--threads", "3")]),
        "--rounds": of(BENCH, "--rounds", "3", refusals=[("bench", "latency", "--rounds", "3")]),
        "--image-size": of(BENCH, "--image-size", "112"),
        "--batch-size": of(BENCH, "--batch-size", "3", refusals=[("bench", "search", "--batch-size", "3")]),
        "--trials": of(BENCH, "--trials", "9", refusals=[("bench", "operators", "--trials", "9")]),
        "--space": of(
            BENCH, "--space", "tiny.yaml", refusals=[("bench", "networks", "--space", "tiny.yaml")]
        ),
        "--runtime": of(
            ("bench", "latency", "--device", "cpu"),
            *("--runtime", "onnxruntime"),
            refusals=[
                ("bench", "operators", "--runtime", "onnxruntime"),
                ("bench", "latency", "--runtime", "tensorrt"),
            ],
        ),
        "--scale": of(BENCH, "--scale", "nano", refusals=[("bench", "operators", "--scale", "nano")]),
        "--quick": of(BENCH, "--quick"),
        "--json": of(BENCH, "--json"),
    },
}
