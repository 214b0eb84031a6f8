"""``edgelora run``: generate text with an artifact, or classify, tag and embed it.

artifact, Job -> answers as lines or JSON
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from tqdm import tqdm

from edgelora.cli.flags import spread
from edgelora.cli.output import Json, emit
from edgelora.cli.run_encoder import Wanted, run_encoder
from edgelora.cli.sampling_options import SamplingFlags
from edgelora.cli.thread_options import Threads
from edgelora.errors import DataError, InputError
from edgelora_runtime import Generation, Model, load
from edgelora_runtime.manifest import TEXT_GENERATION, read_manifest
from edgelora_runtime.messages import check_tools
from edgelora_runtime.parse_json import JsonError, read_value, show
from edgelora_runtime.request import TextOptions, make_request

_SHAPES = '{"prompt": TEXT}, {"text": TEXT} or {"messages": [...]}, with "tools", and "adapter": SPEC where it differs'
_SHOWN = 3  # problems named in a one-line error


@dataclass(frozen=True)
class Job:
    """One prompt to answer: a text, or a conversation for the chat template."""

    prompt: str | tuple[Mapping[str, str], ...]
    adapter: str
    tools: tuple[Mapping[str, Any], ...] | None = None


@spread
def run(
    artifact: Annotated[Path, typer.Argument(help="Folder written by `edgelora export`.", show_default=False)],
    adapter: Annotated[str, typer.Option(metavar="SPEC", help="none, NAME, NAME:0.5 or A:0.7+B:0.3.")] = "none",
    prompt: Annotated[str | None, typer.Option(help="What to ask; standard input where it is left out.")] = None,
    file: Annotated[Path | None, typer.Option(help=f"JSONL, one {_SHAPES} a line.")] = None,
    raw: Annotated[bool, typer.Option("--raw", help="Continue the text as it is, without the chat template.")] = False,
    choices: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TEXT", help="Answer with the likeliest of these; given once for each. --json adds scores."
        ),
    ] = None,
    schema: Annotated[
        str | None,
        typer.Option(metavar="FILE|JSON", help="A JSON Schema that the answer keeps to: a file, or the schema itself."),
    ] = None,
    regex: Annotated[
        str | None, typer.Option(metavar="R", help="A regular expression that the whole answer matches.")
    ] = None,
    classify: Annotated[bool, typer.Option("--classify", help="Say the label of the text, with its score.")] = False,
    tag: Annotated[bool, typer.Option("--tag", help="Find spans of the text, in characters.")] = False,
    embed: Annotated[bool, typer.Option("--embed", help="Make a vector of the text.")] = False,
    each: Annotated[bool, typer.Option("--each", help="Classify with every adapter, in one call.")] = False,
    sampling: SamplingFlags = SamplingFlags(),
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Generate text, streamed to standard output; classify, tag or embed it where the artifact is for that.

    Example: edgelora run smol --adapter support --prompt "My order is late"
    Example: edgelora run smol --prompt "Is this spam? ..." --choices yes --choices no
    Example: edgelora run smol --adapter addresses --schema address.json --prompt "1 Main St, Springfield IL"
    Example: edgelora run mails --classify --adapter topic --prompt "My order is late"
    """
    if prompt is not None and file is not None:
        raise InputError("--prompt and --file exclude each other; give one of them")
    wanted, manifest = Wanted(classify, tag, embed, each), read_manifest(artifact)
    wanted.check(manifest)
    jobs = read_jobs(file, adapter, raw) if file else (Job(_given(prompt), adapter),)
    options = sampling.options()
    if manifest.task != TEXT_GENERATION:
        if raw or choices or schema or regex or sampling != SamplingFlags():
            raise InputError(
                f"{manifest.model.name} makes no text; leave out --raw, --choices, --schema, --regex "
                "and what is for answers"
            )
        texts, specs = [_text_of(job) for job in jobs], [job.adapter for job in jobs]
        run_encoder(artifact, manifest, texts, specs, wanted, threads=threads, as_json=as_json)
        return
    if choices:
        options["choices"] = choices
    if schema is not None:
        options["schema"] = _read_schema(schema)
    if regex is not None:
        options["regex"] = regex
    make_request(**options)  # what is wrong with the options is said before anything is loaded
    model = load(artifact, threads=threads)
    if not as_json:
        for job in jobs:
            for piece in [_answer(model, job, raw, options).text] if choices else _stream(model, job, raw, options):
                sys.stdout.write(piece)
                sys.stdout.flush()
            sys.stdout.write("\n")
        return
    results = []
    for job in tqdm(jobs, desc="run", file=sys.stderr, disable=len(jobs) == 1):
        done = _answer(model, job, raw, options)
        results.append(
            {
                "prompt": job.prompt if isinstance(job.prompt, str) else [dict(message) for message in job.prompt],
                "adapter": job.adapter,
                "text": done.text,
                "token_ids": [int(token) for token in done.token_ids],
                "finish_reason": done.finish_reason,
                **(
                    {"choice_scores": dict(zip(choices, map(float, done.choice_scores), strict=True))}
                    if choices and done.choice_scores
                    else {}
                ),
            }
        )
    emit(as_json, {"results": results}, ())


def read_jobs(path: Path, adapter: str, raw: bool) -> tuple[Job, ...]:
    """The prompts of a JSONL file; raises DataError naming the lines that hold none."""
    jobs: list[Job] = []
    problems: list[str] = []
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        if not line.strip():
            continue
        found = _parse_job(line, adapter, raw)
        if isinstance(found, Job):
            jobs.append(found)
        else:
            problems.append(f"line {number}: {found}")
    if problems:
        more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise DataError(f"{path}: {'; '.join(problems[:_SHOWN])}{more}; expected {_SHAPES} on every line")
    if not jobs:
        raise DataError(f"{path} is empty; expected {_SHAPES} on every line")
    return tuple(jobs)


def _parse_job(line: bytes, adapter: str, raw: bool) -> Job | str:
    """The prompt of one line, or the reason why it is none."""
    try:
        data: Any = read_value(line)
    except JsonError as error:
        return f"not JSON ({error})"
    if not isinstance(data, dict):
        return f"a JSON {type(data).__name__}, not an object"
    spec = data.get("adapter", adapter)
    if not isinstance(spec, str):
        return "adapter is no string"
    prompt, messages = data.get("prompt", data.get("text")), data.get("messages")
    if isinstance(prompt, str) and messages is None:
        return Job(prompt, spec)
    if not isinstance(messages, list) or not messages or prompt is not None:
        return f"has the keys {show(sorted(data))}"
    if raw:
        return "messages need the chat template, which --raw leaves out"
    if not all(isinstance(message, dict) for message in messages):
        return "messages is not a list of objects"
    try:
        tools = None if data.get("tools") is None else tuple(check_tools(data["tools"]))
    except InputError as error:
        return str(error)
    return Job(tuple(messages), spec, tools)


def _text_of(job: Job) -> str:
    if not isinstance(job.prompt, str):
        raise InputError("messages are for models that write text; give texts")
    return job.prompt


def _read_schema(given: str) -> str:
    """The JSON text of a schema: what is given where it begins like JSON, else the content of that file."""
    if given.lstrip()[:1] in ("{", '"') or given.strip() == "true":
        return given
    try:
        return Path(given).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--schema {given!r} cannot be read ({error}); give a file, or a JSON Schema") from error


def _given(prompt: str | None) -> str:
    """The prompt of the command line, or standard input where it is piped."""
    if prompt is not None:
        if not prompt.isprintable() and any("\ud800" <= letter <= "\udfff" for letter in prompt):
            raise InputError("--prompt is no UTF-8; give the text in UTF-8, or in a file with --file")
        return prompt
    try:
        text = "" if sys.stdin.isatty() else sys.stdin.buffer.read().decode()
    except UnicodeDecodeError as error:
        raise InputError(f"standard input is no UTF-8 at byte {error.start}; pipe a text in UTF-8 in") from error
    if not text:
        raise InputError("no prompt; give --prompt TEXT, --file PROMPTS.jsonl, or pipe a text in")
    return text.removesuffix("\n")


def _stream(model: Model, job: Job, raw: bool, options: TextOptions) -> Iterator[str]:
    if isinstance(job.prompt, str):
        return model.generate(job.prompt, raw=raw, adapter=job.adapter, stream=True, **options)
    return model.chat(_messages(job), tools=job.tools, adapter=job.adapter, stream=True, **options)


def _answer(model: Model, job: Job, raw: bool, options: TextOptions) -> Generation:
    if isinstance(job.prompt, str):
        return model.generate(job.prompt, raw=raw, adapter=job.adapter, **options)
    return model.chat(_messages(job), tools=job.tools, adapter=job.adapter, **options)


def _messages(job: Job) -> list[dict[str, Any]]:
    return [dict(message) for message in job.prompt if not isinstance(message, str)]
