"""Compiles and renders chat templates that somebody else wrote, as transformers does, in bounded time and memory.

text of a template, variables -> ChatTemplate -> text

It alone needs the package ``jinja2``. Its sandbox keeps a template from what it must not touch; what it does not keep
it from is work without end, so loops and calls are counted here and no value grows without a limit.
"""

from __future__ import annotations

import contextvars
import datetime
import functools
import json
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.sandbox
import jinja2.utils
from jinja2.compiler import CodeGenerator, Frame

from edgelora_runtime.errors import ArtifactError, InputError
from edgelora_runtime.parse_json import one_line

LONGEST_TEMPLATE = 1 << 20  # characters; released ones have some ten thousand
LONGEST_TEXT = 1 << 22  # characters of the result and of any text on the way
MOST_TEXT = 1 << 28  # characters of all texts on the way
MOST_STEPS = 500_000  # turns of loops, and calls
PATIENCE = 10.0  # seconds

_LARGEST_ARGUMENT = 100_000  # as jinja2's MAX_RANGE; a width, a count, a number of characters
_LARGEST_BITS = 4096  # of a whole number
_WIDTH = re.compile(r"\d{5}|%[-+ #0]*\*")  # in a format

_ADVICE = "export the artifact again"


class TemplateLimitError(jinja2.TemplateError):
    """A template wants more than any chat needs."""


class _Budget:
    """What is left of the steps and the time of one rendering."""

    def __init__(self) -> None:
        self.steps = MOST_STEPS
        self.text = MOST_TEXT
        self.end = time.monotonic() + PATIENCE

    def step(self) -> None:
        self.steps -= 1
        if self.steps < 0 or time.monotonic() > self.end:
            raise TemplateLimitError("it takes more steps than any chat needs")

    def spend(self, size: int) -> None:
        self.text -= size
        if self.text < 0:
            raise TemplateLimitError("it makes more text than any chat needs")


_BUDGET: contextvars.ContextVar[_Budget] = contextvars.ContextVar("budget")


class ChatTemplate:
    """A compiled template."""

    def __init__(self, source: str) -> None:
        """Raises ArtifactError in one line for what is no template."""
        if len(source) > LONGEST_TEMPLATE:
            raise ArtifactError(f"the chat template has {len(source)} characters, at most {LONGEST_TEMPLATE} are read")
        try:
            self._template = _Environment().from_string(source)
        except jinja2.TemplateError as error:
            raise ArtifactError(
                f"the chat template is malformed ({one_line(error, named=False)}); {_ADVICE}"
            ) from error
        except Exception as error:  # the parser of jinja2 and Python's compiler have others for hostile templates
            raise ArtifactError(f"the chat template is malformed ({one_line(error)}); {_ADVICE}") from error

    def render(self, variables: Mapping[str, Any]) -> str:
        """The text for ``variables``; raises InputError in one line, whatever the template does."""
        token = _BUDGET.set(_Budget())
        pieces: list[str] = []
        size = 0
        try:
            for piece in self._template.generate(**variables):
                size += len(piece)
                if size > LONGEST_TEXT:
                    raise TemplateLimitError(f"it grows beyond {LONGEST_TEXT} characters")
                pieces.append(piece)
            return "".join(pieces)  # a filter around a block may give what is no text
        except jinja2.TemplateError as error:
            raise InputError(f"the chat template refuses these messages: {one_line(error, named=False)}") from error
        except TypeError as error:
            raise InputError(
                f"the chat template cannot use these messages ({one_line(error, named=False)}); give content as text"
            ) from error
        except Exception as error:  # division by zero, recursion, memory: whatever an expression can raise
            raise InputError(f"the chat template cannot use these messages ({one_line(error)})") from error
        finally:
            _BUDGET.reset(token)


class _GenerationTag(jinja2.ext.Extension):
    """``{% generation %}`` marks what the assistant wrote; for rendering it is transparent."""

    tags = {"generation"}  # noqa: RUF012 - the name and type that jinja2 reads

    def parse(self, parser: Any) -> Any:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _Generator(CodeGenerator):
    """Jinja's, with a ``~`` that looks at the length of what it joins."""

    def visit_Concat(self, node: jinja2.nodes.Concat, frame: Frame) -> None:  # noqa: N802
        self.write("environment.join_texts((")
        for item in node.nodes:
            self.visit(item, frame)
            self.write(", ")
        self.write("))")

    def visit_List(self, node: jinja2.nodes.List, frame: Frame) -> None:  # noqa: N802
        self._measured(super().visit_List, node, frame)

    def visit_Dict(self, node: jinja2.nodes.Dict, frame: Frame) -> None:  # noqa: N802
        self._measured(super().visit_Dict, node, frame)

    def visit_Tuple(self, node: jinja2.nodes.Tuple, frame: Frame) -> None:  # noqa: N802
        if node.ctx == "load":
            self._measured(super().visit_Tuple, node, frame)
        else:
            super().visit_Tuple(node, frame)

    def _measured(self, visit: Callable[[Any, Frame], None], node: jinja2.nodes.Node, frame: Frame) -> None:
        self.write("environment.measured(")
        visit(node, frame)
        self.write(")")


class _Namespace(jinja2.utils.Namespace):
    """Jinja's; what is set in it later no size could tell, so that it is not printed."""

    def __repr__(self) -> str:
        raise TemplateLimitError("it prints a namespace, which no chat needs")


class _List(list[Any]):
    """A list that knows its size."""

    size = 0


class _Tuple(tuple[Any, ...]):
    size = 0


class _Dict(dict[Any, Any]):
    size = 0


_KINDS: Mapping[type, Any] = {list: _List, tuple: _Tuple, dict: _Dict}


class _Environment(jinja2.sandbox.ImmutableSandboxedEnvironment):
    """Transformers' environment for chat templates."""

    code_generator_class = _Generator
    intercepted_binops = frozenset({"*", "**", "+", "%"})

    def __init__(self) -> None:
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationTag, "jinja2.ext.loopcontrols"])
        self.filters = {name: _guard(function) for name, function in self.filters.items()}
        self.filters.update(tojson=_guard(_tojson), counted=_counted)
        self.globals.update(raise_exception=_raise_exception, strftime_now=_strftime_now, namespace=_Namespace)
        self.globals.pop("lipsum")  # text without end, of no use in a chat

    def _parse(self, source: str, name: str | None, filename: str | None) -> jinja2.nodes.Template:
        """The template with a filter at every loop that counts its turns."""
        tree = super()._parse(source, name, filename)
        for loop in list(tree.find_all(jinja2.nodes.For)):
            loop.iter = jinja2.nodes.Filter(loop.iter, "counted", [], [], None, None, lineno=loop.lineno)
            loop.iter.set_environment(self)
        return tree

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        _check_operation(operator, left, right)
        size = _size(left) + _size(right) if operator == "+" else None
        return self.measured(super().call_binop(context, operator, left, right), size)

    @staticmethod
    def measured(value: Any, size: int | None = None) -> Any:
        """What a template makes, held to a size; a list in it twice counts twice, as in what is printed."""
        kind = _KINDS.get(type(value))
        if kind is None:
            return value
        measured = kind(value)
        measured.size = _size(value) if size is None else size
        _check_size(measured.size, _cost(value))
        return measured

    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805 - as jinja2 has it
        _step()
        _check_method(__obj, args)
        return _checked(super().call(__context, __obj, *args, **kwargs))

    @staticmethod
    def concat(pieces: Iterable[str]) -> str:
        """What a macro or a block gives."""
        texts = list(pieces)
        _check_size(sum(map(len, texts)))
        return "".join(texts)

    @classmethod
    def join_texts(cls, items: Iterable[Any]) -> str:
        """What ``~`` gives."""
        return cls.concat(map(str, items))


def _raise_exception(message: str) -> None:
    raise jinja2.TemplateError(message)


def _strftime_now(form: str) -> str:
    return datetime.datetime.now().strftime(form)


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _counted(items: Any) -> Any:
    """``items`` one by one, each a step; what has a length keeps it, for ``loop.length`` and ``loop.last``."""
    return _Counted(items) if hasattr(items, "__len__") else _steps(iter(items))


class _Counted:
    def __init__(self, items: Any) -> None:
        self._items = items

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Any]:
        return _steps(iter(self._items))


def _steps(items: Iterator[Any]) -> Iterator[Any]:
    for item in items:
        _step()
        if isinstance(item, list | tuple):
            _check_size(_size(item), _cost(item))
        yield item


def _step() -> None:
    budget = _BUDGET.get(None)
    if budget is not None:  # else jinja2 folds constants, which a template has few of
        budget.step()


def _guard(function: Callable[..., Any]) -> Callable[..., Any]:
    """A filter that is given no huge number, makes no huge text, and adds up numbers alone."""
    first = 1 if hasattr(function, "jinja_pass_arg") else 0  # behind the environment or context that it asks for
    name = getattr(function, "__name__", "")

    @functools.wraps(function)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        _step()
        value, rest = args[first], args[first + 1 :]
        _check_arguments((*rest, *kwargs.values()))
        if name == "do_replace" and len(rest) >= 2:
            _check_method(str(value).replace, rest)
        elif name in ("do_join", "sync_do_join") and hasattr(value, "__len__"):
            _check_method(str(kwargs.get("d", rest[0] if rest else "")).join, (value,))
        elif name in ("do_sum", "sync_do_sum") and isinstance(
            kwargs.get("start", rest[-1] if rest else 0), list | tuple
        ):
            raise TemplateLimitError("it adds up lists, which no chat needs")
        elif name == "do_format" and _WIDTH.search(str(value)):
            raise TemplateLimitError("a format in it is wider than any chat needs")
        return _checked(function(*args, **kwargs))

    return guarded


def _check_operation(operator: str, left: Any, right: Any) -> None:
    whole = isinstance(left, int) and isinstance(right, int)
    if operator == "**" and whole and left.bit_length() * abs(right) > _LARGEST_BITS:
        raise TemplateLimitError("a power in it is beyond what any chat needs")
    if operator == "*" and whole and left.bit_length() + right.bit_length() > _LARGEST_BITS:
        raise TemplateLimitError("a product in it is beyond what any chat needs")
    if operator == "*":
        for one, other in ((left, right), (right, left)):
            if isinstance(one, int) and hasattr(other, "__len__"):
                _check_size(one * _size(other))
    if operator == "+" and hasattr(left, "__len__") and hasattr(right, "__len__"):
        _check_size(_size(left) + _size(right), _cost(left) + _cost(right))
    if operator == "%" and isinstance(left, str) and _WIDTH.search(left):
        raise TemplateLimitError("a format in it is wider than any chat needs")


def _check_arguments(values: Iterable[Any]) -> None:
    for value in values:
        if isinstance(value, int) and abs(value) > _LARGEST_ARGUMENT:
            raise TemplateLimitError("a number in it is beyond what any chat needs")


def _check_method(function: Any, args: tuple[Any, ...]) -> None:
    """Hold methods of texts and numbers to a size before they run."""
    method = getattr(function, "__wrapped__", function)  # the sandbox wraps ``format``
    text = getattr(method, "__self__", None)
    if not isinstance(text, str | int | float | bytes | list | tuple):
        return
    _check_arguments(args)
    name = method.__name__
    if not isinstance(text, str):
        return
    if name == "expandtabs":
        _check_size(len(text) + text.count("\t") * _LARGEST_ARGUMENT)
    elif name == "replace" and len(args) >= 2:
        old, new = str(args[0]), str(args[1])
        _check_size(len(text) + (text.count(old) if old else len(text) + 1) * len(new))
    elif name == "join" and args and hasattr(args[0], "__len__"):
        _check_size(sum(len(str(item)) + len(text) for item in args[0]))
    elif name in ("format", "format_map") and _WIDTH.search(text):
        raise TemplateLimitError("a format in it is wider than any chat needs")


def _checked(value: Any) -> Any:
    if isinstance(value, str | list | tuple | bytes | dict):
        _check_size(_size(value), _cost(value))
    return value


def _size(value: Any) -> int:
    """What ``value`` costs with all that is in it, each time that it is; beyond the limit some number above it."""
    size, unseen = 0, [value]
    while unseen and size <= LONGEST_TEXT:
        item = unseen.pop()
        if isinstance(item, str | bytes):
            size += len(item)
        elif isinstance(item, _List | _Tuple | _Dict) and item.size:
            size += item.size
        elif isinstance(item, list | tuple | dict):
            size += 8 * len(item)
            unseen.extend(item)
            unseen.extend(item.values() if isinstance(item, dict) else ())
    return size


def _cost(value: Any) -> int:
    """Characters, or what as many bytes hold of a list itself."""
    return len(value) if isinstance(value, str | bytes) else 8 * len(value)


def _check_size(size: int, cost: int | None = None) -> None:
    """Hold ``size`` to the limit of one value; ``cost`` is the work that it was, where that is less."""
    if size > LONGEST_TEXT:
        raise TemplateLimitError(f"a text in it grows beyond {LONGEST_TEXT} characters")
    budget = _BUDGET.get(None)
    if budget is not None:
        budget.spend(size if cost is None else cost)
