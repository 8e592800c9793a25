"""docs/extending.md is true: its snippets stand in the files that it names, which are all, and mypy leads there."""

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, get_args

import pytest

from ledger.domain.commands import Command
from ledger.domain.events import Event

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
PRODUCT = ("ledger", "projections", "api", "replay", "numbering")


class Names(NamedTuple):
    """What a module that knows an event or a command says of it: its classes, and texts such as an operation's name."""

    types: set[str]
    texts: set[str]


EVENT = Names({"DocumentLinked"}, {"DocumentLinked"})
COMMAND = Names({"Link", "LinkBody"}, {"link", "numbers:link"})
MOST = {"event": 6, "command": 8}


def part(title: str) -> str:
    return PAGE.partition(f"\n## {title}")[2].partition("\n## ")[0]


def named(title: str) -> list[str]:
    """The files of a list, by their numbers."""
    found = re.findall(r"\*\*(\d+)\. `([^`]+)`\*\*", part(title))
    assert [int(number) for number, _ in found] == list(range(1, len(found) + 1))
    return [path for _, path in found]


def snippets() -> Iterator[tuple[str, list[str]]]:
    """Every block of code, with the files that are named in the paragraph nearest before it that names one.

    A part of a tuple is `text`: ruff would write it otherwise.
    """
    files: list[str] = []
    for text, block in re.findall(r"(.*?)```(?:python|text)\n(.*?)```\n", PAGE, re.DOTALL):
        paragraphs = [re.findall(r"`([a-z_]+/[a-z_/]+\.py)`", each) for each in text.split("\n\n")]
        files = next((each for each in reversed(paragraphs) if each), files)
        yield block, files


@pytest.mark.parametrize(("block", "files"), list(snippets()))
def test_a_snippet_stands_in_its_file(block: str, files: list[str]) -> None:
    assert any(block in (ROOT / file).read_text(encoding="utf-8") for file in files), f"{block} is in none of {files}"


def is_all(node: ast.stmt) -> bool:
    """Say whether a statement lists what a module exports: that repeats what it defines."""
    return isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"


def mentions(path: Path, names: Names) -> bool:
    """Say whether a module's code uses one of the names; what its comments say does not count."""
    module = ast.parse(path.read_text(encoding="utf-8"))
    exported = {id(each) for node in module.body if is_all(node) for each in ast.walk(node)}
    for node in ast.walk(module):
        match node:
            case ast.Name(id=name) | ast.alias(name=name) | ast.ClassDef(name=name):
                if name in names.types:
                    return True
            case ast.Constant(value=str(text)):
                if text in names.texts and id(node) not in exported:
                    return True
    return False


@pytest.mark.parametrize(
    ("title", "kind", "names"),
    [("An event: six files", "event", EVENT), ("A command: eight files", "command", COMMAND)],
)
def test_the_files_are_those_that_know_it_by_name(title: str, kind: str, names: Names) -> None:
    modules = (path for package in PRODUCT for path in (ROOT / package).rglob("*.py"))
    found = {str(path.relative_to(ROOT)) for path in modules if mentions(path, names)}
    assert set(named(title)) == found
    assert len(found) <= MOST[kind]


# What mypy can name, it names


def families(kinds: Iterable[type]) -> set[str]:
    """The names of classes, and of the bases that they share."""
    return {each.__name__ for kind in kinds for each in kind.__mro__}


MATCH = re.compile(r"^\s*match\b", re.MULTILINE)
KNOWN = families((*get_args(Event), *get_args(Command))) - {"object", "Place"}


def matches() -> Iterator[tuple[str, ast.Match]]:
    """Every `match` of the product over events or commands: by a class of theirs in one of its patterns."""
    for package in PRODUCT:
        for path in sorted((ROOT / package).rglob("*.py")):
            text = path.read_text(encoding="utf-8")
            if not MATCH.search(text):  # walking takes long, and every worker of a run does it before its first test
                continue
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.Match):
                    patterns = (each for case in node.cases for each in ast.walk(case.pattern))
                    if any(isinstance(each, ast.MatchClass) and ast.unparse(each.cls) in KNOWN for each in patterns):
                        yield f"{path.relative_to(ROOT)}:{node.lineno}", node


@pytest.mark.parametrize(("place", "node"), [pytest.param(*each, id=each[0]) for each in matches()])
def test_a_match_over_events_or_commands_is_exhaustive(place: str, node: ast.Match) -> None:
    last = node.cases[-1]
    assert isinstance(last.pattern, ast.MatchAs), place
    assert last.pattern.pattern is None, place
    assert last.guard is None, place
    assert ast.unparse(last.body[-1]).startswith("assert_never("), place
