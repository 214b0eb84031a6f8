"""The rule for the docstring of a module of the product: a sentence, and a line of what it takes and returns.

text of a module, names around it -> what is wrong with its docstring
"""

import ast
import re
from collections.abc import Collection, Iterator

_END = re.compile(r"[.!?](?=\s+[A-Z`])")  # of a sentence that is followed by another
# A name of the code: Grid, QuantSpec. What is written in capitals alone is a word of the field: PEFT, JSON, KL.
_NAME = re.compile(r"(?<![\w./-])[A-Z]\w*[a-z]\w*(?![\w/-]|\.\w)")
_WORDS = {"Linear", "Markdown"}  # an operator of the graphs, and a format: no class of ours
ARROW = " -> "


def find_wrong(source: str, around: Collection[str] = ()) -> str | None:
    """None where the docstring keeps the rule; ``around`` are names that resolve beside those of the module."""
    tree = ast.parse(source)
    parts = (ast.get_docstring(tree) or "").split("\n\n")
    sentence = " ".join(parts[0].split())
    if not sentence.endswith((".", "?")) or _END.search(sentence):
        return f"expected one plain sentence of what the module does, then an empty line; found {sentence!r}"
    line = parts[1] if len(parts) > 1 else ""
    if (
        "\n" in line
        or ARROW not in line
        or line.endswith((".", ";", ":"))
        or not all(map(str.strip, line.split(ARROW)))
    ):
        return f"expected a line `Takes -> Returns` of its own after the first sentence, found {line!r}"
    known = {*names_of(tree), *around, *_WORDS}
    unknown = [name for name in _NAME.findall(line) if name not in known]
    if unknown:
        return f"{line!r} names {', '.join(unknown)}, which the module neither defines nor imports"
    return None


def names_of(tree: ast.Module) -> Iterator[str]:
    """What the top level of a module defines or imports, under ``if`` and ``try`` too."""
    waiting: list[ast.AST] = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If | ast.Try | ast.ExceptHandler):
            waiting += ast.iter_child_nodes(node)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield from ((item.asname or item.name).split(".")[0] for item in node.names)
        elif isinstance(node, ast.ClassDef | ast.FunctionDef):
            yield node.name
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name))
