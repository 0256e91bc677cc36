"""The console commands that documents show, what each is made small by, and which are not run and why."""

from __future__ import annotations

import re
from dataclasses import dataclass
from zlib import crc32

from tests.docs.documents import PAGES, console_commands, read

#: Why commands are not run here, by what they begin with or hold: what they need, or the test that runs them.
NOT_RUN = {
    r"^make ": "targets are the project's own; `.ci/run` runs them",
    r"^pip |^docker ": "packages are installed in tests/test_install.py and tests/test_wheel.py; there is no Docker",
    r"pytest": "this is one",
    r"^ray |--ray-address": "a cluster of several machines: tests/nas/pipeline/test_other_machines.py",
    r"://": "a server: tests/nas/data/test_url.py, tests/nas/report/test_tracking.py",
    r"^tensorboard |^nas dashboard": "they serve until stopped: tests/nas/report/test_dashboard.py",
    r"nas\.timm ": "timm's repository has these scripts, its package has not: tests/nas/timm/test_scripts.py",
    r"torch/cifar10": "images that are not here: tests/nas/data/test_dataset.py",
    r"imagenet": "images that are not here, and GPUs",
    r"cswin\.pth": "a checkpoint that is not here: tests/nas/export/test_published_checkpoints.py",
    r"new_operator": "a package to be installed first: tests/examples",
    r"^nas bench (?!operators|latency)|^nas bench$": "minutes each: tests/nas/bench",
}


@dataclass(frozen=True)
class Command:
    """A command of a document.

    Args:
        text: As it stands there, in one line.
    """

    text: str

    @property
    def reason(self) -> str | None:
        """Why it is not run; None for one that is."""
        return next((why for pattern, why in NOT_RUN.items() if re.search(pattern, self.text)), None)

    @property
    def is_quick(self) -> bool:
        """Whether it trains nothing and needs no study."""
        slow = r"studies/(first|second|flowers)|search|retrain|rank|import|bench|STUDY|DIGEST"
        return "--dry-run" in self.text or re.search(slow, self.text) is None


def documented_commands() -> list[Command]:
    """Return every command of README, CONTRIBUTING and docs once."""
    documents = ("README.md", "CONTRIBUTING.md", *PAGES)
    lines = (" ".join(words) for document in documents for words in console_commands(read(document)))
    return [Command(text) for text in dict.fromkeys(lines)]


#: Options that make a command small, behind its own: the last of two counts.
SMALL_SPACE = ("--space", "tiny.yaml", "--epochs", "1", "--retrain-epochs", "1")
SMALL_SEARCH = ("--budget", "1cpu,6trials", "--batch", "6")
ONE_DESIGN = ("--retrain", "1", "--candidates", "1")


def made_small(words: list[str]) -> list[str]:
    """Return the words of a ``nas`` command with options that make it small."""
    name = words[1]
    if name == "search" and "--dry-run" not in words:
        sizes = SMALL_SEARCH if "--from-study" in words else (*SMALL_SPACE, *SMALL_SEARCH)
        own = () if "--study" in words else ("--study", f"of-{crc32(' '.join(words).encode())}")
        return [*words, *sizes, *own, *(ONE_DESIGN if "--retrain" in words else ())]
    if name == "retrain":
        one = () if "--arch" in words else ("--top", "1", "--candidates", "1")
        return [*words, "--budget", "1cpu", "--epochs", "1", "--from-scratch", *one]
    if name == "rank" and "--table" not in words:
        return [*words, "--designs", "4", "--repeated", "1", "--epochs", "1", "--budget", "1cpu"]
    if name == "bench":
        space = ("--space", "tiny.yaml", "--scale", "nano") if "latency" in words else ()
        return [*words, *space, *(() if "--quick" in words else ("--quick",))]
    return words
