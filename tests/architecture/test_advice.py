"""Whoever writes advice into an error message tries it: its words stand in some test."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RAISED = re.compile(r"Error$|refuse|_error$|BadParameter")
ADVICE = re.compile(
    r"(?<=[;:.,] )(?:or )?(?:abort|ask|begin|bring|call|change|check|choose|close|compare|continue"
    r"|copy|correct|create|decode|decrypt|delete|draw|encode|end|fetch|finish|fit|free|give|go on"
    r"|import|install|keep|label|leave|list|look|lower|make|mend|move|name|open|override|point"
    r"|publish|pull|push|put|raise|read|relabel|remove|rename|renew|repeat|replace|request|resize"
    r"|restore|retry|run|save|say|send|set|specify|split|start|state|stop|store|switch|take|try"
    r"|turn|unpack|unset|upload|use|wait|write)\b"
)
# So many characters are found by chance in no other place.
WINDOW = 24
TELLING = 10
GAP = "\0"

NOT_TRIED = {
    "install a newer one": "there is none that knows more",
}


def messages(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and text of what is raised; GAP stands for a value."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not node.args:
            continue
        if not RAISED.search(ast.unparse(node.func)):
            continue
        match node.args[0]:
            case ast.Constant(value=str(text)):
                yield node.lineno, text
            case ast.JoinedStr(values=values):
                parts = [part.value if isinstance(part, ast.Constant) else GAP for part in values]
                yield node.lineno, "".join(map(str, parts))


def is_tried(message: str, start: int, tests: str) -> bool:
    """Whether a test holds part of the advice that begins at `start`."""
    clause = message[start:].split(GAP, maxsplit=1)[0]
    if len(clause) >= TELLING and not clause.endswith("again") and clause in tests:
        return True
    before = message[:start].rsplit(GAP, maxsplit=1)[-1][-20:]
    first, *others = [piece.strip() for piece in f"{before}{message[start:]}".split(GAP)]
    long = [first, *(piece for piece in others if len(piece) >= WINDOW)]
    starts = ((piece, at) for piece in long for at in range(max(1, len(piece) - WINDOW + 1)))
    return any(piece[at : at + WINDOW] in tests for piece, at in starts)


@pytest.fixture(scope="module")
def tests() -> str:
    """All tests as one text, in which literals that stand side by side are one."""
    files = sorted((ROOT / "tests").rglob("test_*.py"))
    own = [path.read_text(encoding="utf-8") for path in files if path != Path(__file__)]
    return re.sub(r'"\s*\n\s*[fr]*"', "", "\n".join(own)).replace("\\", "")


@pytest.mark.parametrize("folder", ["client", "server", "producers"])
def test_every_advice_is_tried(folder: str, tests: str) -> None:
    untried = []
    for path in sorted((ROOT / folder).rglob("*.py")):
        for line, message in messages(ast.parse(path.read_text(encoding="utf-8"))):
            advice = ADVICE.search(message)
            if advice is None or any(known in message for known in NOT_TRIED):
                continue
            if not is_tried(message, advice.start(), tests):
                untried.append(f"{path.relative_to(ROOT)}:{line}: {message.replace(GAP, '…')}")
    assert not untried, "give a test that does what these say:\n" + "\n".join(untried)
