"""Examples of every command, which its help ends with."""

from __future__ import annotations

#: By command: what is typed, and what that does.
EXAMPLES: dict[str, tuple[tuple[str, str], ...]] = {
    "search": (
        ("nas search --retrain 2 --export", "the whole way on 5,000 digits, which come with the project"),
        (
            "nas search --data folder:flowers --study flowers --retrain 2 --export --dry-run",
            "the plan for images of your own, and how long it takes",
        ),
        (
            "nas search --data folder:flowers --max-macs 50M --budget auto,2h",
            "nothing dearer than 50M multiply-adds, for two hours",
        ),
        (
            "nas search --config studies/first/study.yaml --seed 1 --study second",
            "a search again, with another seed",
        ),
    ),
    "retrain": (
        ("nas retrain studies/first --top 3", "12 candidates alone, 3 of them to the end"),
        ("nas retrain studies/first --arch swin_tiny@4M", "a published family at 4M MACs beside them"),
    ),
    "rank": (
        (
            "nas rank studies/first --designs 16 --repeated 4",
            "train 16 designs, and say how the supernet orders them",
        ),
        (
            "nas rank studies/second --table studies/first/ranking/trainings.json",
            "by trainings that are done already",
        ),
    ),
    "export": (
        ("nas export studies/first", "the best design that the search proposed, in every format"),
        ("nas export studies/first --arch DIGEST --out model --format source", "another one, without ONNX"),
    ),
    "import": (
        (
            "nas import swin_tiny.pth --as swin_tiny --out models/swin_tiny",
            "a checkpoint of the authors or of timm as a model of ours",
        ),
        ("nas import cswin.pth --as cswin_tiny --out models/cswin --format all", "with ONNX, too"),
    ),
    "evaluate": (
        ("nas evaluate models/mine --data folder:flowers", "accuracy on the test images, and throughput"),
        ("nas evaluate studies/first/exports/DIGEST --data mnist5k --json", "the same for scripts"),
    ),
    "predict": (
        ("nas predict models/mine photo.jpg", "the five most probable classes of an image"),
        ("nas predict models/mine a.png b.png --top 1 --json", "one class of each of several, for scripts"),
    ),
    "studies": (
        ("nas studies", "what lies under studies/"),
        ("nas studies /shared/studies --json", "what lies elsewhere, for scripts"),
    ),
    "report": (
        ("nas report studies/first", "write report.html and say where it is"),
        ("nas report studies/first --json", "what was learned, for scripts"),
    ),
    "dashboard": (
        ("nas dashboard studies/first", "on http://127.0.0.1:8080"),
        ("nas dashboard studies/first --port 8081", "beside another one"),
    ),
    "analyze": (
        ("nas analyze studies/first", "the retrained designs of a study side by side"),
        ("nas analyze models/one models/two --data mnist5k --out similarity.html", "any two models"),
    ),
    "spaces": (
        ("nas spaces twins_cswin", "one space in full"),
        ("nas spaces twins_cswin --yaml", "its declaration, to begin a space of your own with"),
    ),
    "recipes": (
        ("nas recipes", "what each costs and reached"),
        ("nas recipes twins", "its numbers and where each is from"),
    ),
    "show": (
        ("nas show swin_tiny", "a published network, stage by stage"),
        ("nas show DIGEST --study studies/first", "a design that a search found"),
    ),
    "data": (
        ("nas data folder:flowers", "parts, classes, splits, every broken file"),
        ("nas data folder:flowers --image-size 64 --json", "as 64 px would be read, for scripts"),
    ),
    "doctor": (
        ("nas doctor", "devices, memory, Ray, what is missing"),
        ("nas doctor studies/first", "check a study's files, and mend what can be mended"),
    ),
    "bench": (
        ("nas bench operators --quick", "see that it runs"),
        ("nas bench latency --scale tiny --out latency.json", "a table for searches by latency"),
    ),
}


def epilog(command: str) -> str:
    """Return the end of a command's help."""
    return "Examples:\n\n" + "\n\n".join(f"  {typed}\n      {does}" for typed, does in EXAMPLES[command])
