"""Operators of other packages: found by an entry point, or imported by ``module:NAME``; known to every process."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from search_spaces.architecture import Architecture, Block, Stage
from search_spaces.attention_cost import window_advice
from search_spaces.cost import costs
from search_spaces.declaration import load_declaration, parse_declaration
from search_spaces.errors import ArchitectureError, SpaceError
from search_spaces.operators import import_operator, is_operator, operator, operator_names
from search_spaces.space import Space
from tests.helpers.operator_packages import EXAMPLE, importable, pip_install, write_distribution

REFERENCE = "axial_pool.spec:OPERATOR"
BY_REFERENCE = (EXAMPLE / "space.yaml").read_text()
BY_NAME = BY_REFERENCE.replace(f"{REFERENCE}: {{", "axial_pool: {")
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of installed packages that holds the example."""
    return pip_install(EXAMPLE, tmp_path_factory.mktemp("example") / "site")


@pytest.fixture
def installed(site: Path) -> Iterator[None]:
    """The example is installed."""
    with importable(site):
        yield


@pytest.fixture
def on_the_path() -> Iterator[None]:
    """The example can be imported but is not installed: it has no entry point."""
    with importable(EXAMPLE):
        yield


def use(space: Space) -> list[Architecture]:
    """Use a space in all ways that need its operators; return designs that have axial pooling."""
    rng = Random(0)
    designs = [space.sample(rng, way) for way in ("choices", "architectures") for _ in range(10)]
    assert {"axial_pool", "lsa"} == {b.operator for d in designs for s in d.stages for b in s.blocks}
    for design in designs:
        for other in (space.mutate(design, rng), space.crossover(design, designs[0], rng)):
            assert space.contains(other)
        assert space.assemble(space.values(design)) == design
        assert Architecture.from_json(json.loads(json.dumps(design.to_json()))) == design
        assert sum(advice.split.total for advice in window_advice(design)) < costs(design).macs
    assert costs(space.smallest).macs < costs(space.largest).macs
    return [d for d in designs if any(b.operator == "axial_pool" for s in d.stages for b in s.blocks)]


def other_process(program: str, text: str, *folders: Path) -> str:
    """Return what ``program`` prints in a fresh process that reads ``text``."""
    path = os.pathsep.join(map(str, (ROOT, *folders)))
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=text,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


READ = """
import json, sys
from search_spaces.architecture import Architecture
from search_spaces.cost import costs
design = Architecture.from_json(json.load(sys.stdin))
print(design.digest, costs(design).macs)
"""
UNPICKLE = """
import pickle, sys
value = pickle.loads(bytes.fromhex(sys.stdin.read()))
print(value.smallest.digest if hasattr(value, "smallest") else value.digest)
from search_spaces.operators import operator
print(operator("axial_pool").implementation)
"""


def test_an_installed_operator_is_found_by_its_name(installed: None, site: Path) -> None:
    assert "axial_pool" in operator_names()
    assert operator("axial_pool").implementation == "axial_pool.mixer"
    space = parse_declaration(BY_NAME, "by_name.yaml").space()
    design = use(space)[0]
    assert "operators" not in design.to_json()
    assert other_process(READ, json.dumps(design.to_json()), site) == f"{design.digest} {costs(design).macs}"
    found = other_process(UNPICKLE, pickle.dumps(space).hex(), site)
    assert found.split() == [space.smallest.digest, "axial_pool.mixer"]


def test_an_operator_is_imported_by_reference(on_the_path: None) -> None:
    assert "axial_pool" not in operator_names()
    space = load_declaration(EXAMPLE / "space.yaml").space()
    assert operator("axial_pool") is import_operator(REFERENCE)
    design = use(space)[0]
    assert design.to_json()["operators"] == {"axial_pool": REFERENCE}
    assert (
        other_process(READ, json.dumps(design.to_json()), EXAMPLE) == f"{design.digest} {costs(design).macs}"
    )
    for value, digest in ((space, space.smallest.digest), (design, design.digest)):
        found = other_process(UNPICKLE, pickle.dumps(value).hex(), EXAMPLE)
        assert found.split() == [digest, "axial_pool.mixer"]


def test_both_ways_give_the_same_space_and_designs(site: Path) -> None:
    with importable(EXAMPLE):
        imported = parse_declaration(BY_REFERENCE, "by_reference.yaml").space()
        designs = [(design.digest, costs(design)) for design in use(imported)]
        digest = imported.digest
    with importable(site):
        named, again = (parse_declaration(text, "space.yaml").space() for text in (BY_NAME, BY_REFERENCE))
        assert again == named  # the reference leads to what is installed
        assert named.digest == digest
        assert [(design.digest, costs(design)) for design in use(named)] == designs
        assert "operators" not in again.smallest.to_json()


def test_a_design_without_the_operator_does_not_name_it(on_the_path: None) -> None:
    import_operator(REFERENCE)
    assert "operators" not in Architecture((Stage(8, 2, (Block("gsa", (("sr_ratio", 1),)),)),)).to_json()


def test_nothing_is_left_behind() -> None:
    assert not is_operator("axial_pool")
    with pytest.raises(SpaceError, match="unknown operator 'axial_pool'"):
        operator("axial_pool")


# -- what is wrong is said --------------------------------------------------------------------------

COPY = "from search_spaces.operators.lsa import OPERATOR as LSA\nfrom dataclasses import replace\n"


@pytest.mark.parametrize(
    ("entry_points", "text", "error"),
    [
        ("lsa = ours:MINE", "", "'ours' offers .* 'lsa', a name that an operator of this project"),
        ("mine = ours:MINE", "raise OSError('no\\ndisk')", r"'ours' \(ours:MINE\) .* \(OSError: no disk\)"),
        ("mine = absent:MINE", "", "distribution 'ours' .* cannot be imported .*No module named 'absent'"),
        ("mine = ours:OTHER", "", "'mine' of the distribution 'ours' .* is not an OperatorSpec but NoneType"),
        ("mine = ours:MINE", "MINE = 3", "is not an OperatorSpec but int"),
        ("mine = ours:MINE", f"{COPY}MINE = LSA", "entry point 'mine' of .*'ours' holds an operator called 'lsa'"),
    ],
)  # fmt: skip
def test_a_faulty_entry_point_names_its_distribution(
    tmp_path: Path, entry_points: str, text: str, error: str
) -> None:
    with importable(write_distribution(tmp_path, "ours", entry_points, ours=text)):
        assert operator("lsa").name == "lsa"  # nothing else is in the way
        with pytest.raises(SpaceError, match=error):
            operator("mine")
        with pytest.raises(ArchitectureError, match=error):
            Block("mine", ())


def test_two_distributions_may_not_offer_one_name(tmp_path: Path) -> None:
    text = f"{COPY}MINE = replace(LSA, name='mine')"
    one = write_distribution(tmp_path / "one", "first", "mine = first:MINE", first=text)
    two = write_distribution(tmp_path / "two", "second", "mine = second:MINE", second=text)
    with importable(one):
        assert operator("mine").name == "mine"
    with (
        importable(one, two),
        pytest.raises(SpaceError, match=r"'second' offers .* 'mine', a name that the distribution 'first'"),
    ):
        operator_names()
    (tmp_path / "three.py").write_text(text)
    with (
        importable(one, tmp_path),
        pytest.raises(
            SpaceError, match="'three:MINE' is called 'mine', a name that the distribution 'first'"
        ),
    ):
        import_operator("three:MINE")


@pytest.mark.parametrize(
    "reference",
    [
        "/tmp/operator.py:OPERATOR",
        "..spec:OPERATOR",
        "axial_pool/spec:OPERATOR",
        "a:b:c",
        ":X",
        "os:",
        "a.1:X",
    ],
)
def test_only_dotted_names_are_imported(reference: str) -> None:
    with pytest.raises(SpaceError, match="not of the form module:NAME"):
        import_operator(reference)


def test_a_declaration_says_which_reference_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "ours.py").write_text(f"{COPY}OWN = LSA\nTAKEN = replace(LSA, summary='another')")
    with importable(tmp_path):
        for reference, error in (
            ("absent.spec:OPERATOR", r"cannot be imported \(ModuleNotFoundError: No module named 'absent'\)"),
            ("ours:ABSENT", "'ours:ABSENT' is not an OperatorSpec but NoneType"),
            ("ours:TAKEN", "'ours:TAKEN' is called 'lsa', a name that an operator of this project has taken"),
            ("ours:OWN", "names the operator 'lsa' twice"),
            ("axial pool:OPERATOR", "'axial pool:OPERATOR' is not of the form module:NAME"),
        ):
            text = BY_REFERENCE.replace(REFERENCE, reference)
            with pytest.raises(SpaceError, match=rf"^space\.yaml: blocks\.operators.*{error}"):
                parse_declaration(text, "space.yaml")


def test_an_architecture_says_which_reference_is_wrong(on_the_path: None) -> None:
    content = Architecture((Stage(8, 2, (Block("gsa", (("sr_ratio", 1),)),)),)).to_json()
    for operators, error in (
        (["axial_pool"], r"operators must map names to module:NAME, not \['axial_pool'\]"),
        ({"axial_pool": "absent:OPERATOR"}, "'absent:OPERATOR' cannot be imported"),
        ({"axial_pool": "/tmp/x.py:OPERATOR"}, "not of the form module:NAME"),
        ({"other": REFERENCE}, f"'{REFERENCE}' is called 'axial_pool', not 'other'"),
    ):
        with pytest.raises(ArchitectureError, match=error):
            Architecture.from_json({**content, "operators": operators})
