"""Griffe extension: fields of options dataclasses are documented by the ``Option`` in their annotation, as --help is.

Knows nothing about which options there are; it reads source, since nothing is imported to build the site.
"""

import ast
from typing import Any

import griffe


class OptionFields(griffe.Extension):
    """Gives every ``name: Annotated[type, Option("help")]``, spelled out or by an alias, its type and its text."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        """Once the whole package is read, so that aliases and constants of other modules are known."""
        self._visit(pkg)

    def _visit(self, item: griffe.Module | griffe.Class) -> None:
        for member in item.members.values():
            if isinstance(member, griffe.Module | griffe.Class):
                self._visit(member)
            elif isinstance(member, griffe.Attribute) and item.is_class and member.annotation is not None:
                self._describe(member, item)

    def _describe(self, field: griffe.Attribute, owner: griffe.Object) -> None:
        annotation = ast.parse(str(field.annotation), mode="eval").body
        if isinstance(annotation, ast.Name):
            annotation = _find(owner, annotation.id)
        match annotation:
            case ast.Subscript(value=ast.Name(id="Annotated"), slice=ast.Tuple(elts=[kind, ast.Call() as option])):
                text = " ".join(_text(option.args[0], owner).split()) if option.args else ""
                field.annotation = ast.unparse(kind)
                field.docstring = griffe.Docstring(
                    text.replace("[default:", "(default:").replace("]", ")"), parent=field
                )


def _find(owner: griffe.Object, name: str) -> ast.expr | None:
    """What a module-level name stands for, wherever it was imported from."""
    try:
        found = owner.modules_collection[owner.resolve(name)]
        found = found.final_target if found.is_alias else found
        return ast.parse(str(found.value), mode="eval").body
    except (AttributeError, KeyError, SyntaxError, griffe.GriffeError):
        return None


def _text(node: ast.expr | None, owner: griffe.Object) -> str:
    match node:
        case ast.Constant(value=value):
            return str(value)
        case ast.JoinedStr(values=parts):
            return "".join(_text(part, owner) for part in parts)
        case ast.FormattedValue(value=ast.Name(id=name)):
            return _text(_find(owner, name), owner) or name
    return ast.unparse(node) if node else ""
