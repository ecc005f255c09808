"""Chat templates: jinja2 in a sandbox, with the functions and filters that templates of published models expect.

A template comes with a model from somewhere else and is program text: it runs in jinja2's immutable sandbox, sees
plain strings only, and its errors name the directory it came from.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NoReturn

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from genwerk.core.errors import ModelError

__all__ = ["FALLBACK_TEMPLATE", "compile_template", "render"]

FALLBACK_TEMPLATE = (
    "{% for message in messages %}{{ message.role | capitalize }}: {{ message.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}"
)


class _Generation(Extension):
    """`{% generation %}` marks what the assistant says; it prints its body."""

    tags = {"generation"}  # noqa: RUF012 - the name jinja2 asks for

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=line)


def compile_template(source: str, *, where: str = "") -> jinja2.Template:
    """Parse a chat template. Raises ModelError with the line of a syntax error."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = _strftime_now
    try:
        return environment.from_string(source)
    except jinja2.TemplateSyntaxError as error:
        raise ModelError(
            f"the chat template is not valid, line {error.lineno}: {error.message}",
            where=where,
            remedy="Mend chat_template in tokenizer_config.json.",
        ) from None


def render(
    template: jinja2.Template,
    messages: Sequence[Mapping[str, str]],
    add_generation_prompt: bool,
    special_tokens: Mapping[str, str],
    *,
    where: str = "",
) -> str:
    """The text of a chat. Raises ModelError with the template's own words where it refuses the chat."""
    try:
        return template.render(
            messages=list(messages),
            tools=None,
            documents=None,
            add_generation_prompt=add_generation_prompt,
            **special_tokens,
        )
    except (jinja2.TemplateError, TypeError) as error:
        raise ModelError(
            f"the chat template refuses this chat: {error}",
            where=where,
            remedy="Check the order and the roles of the messages.",
        ) from None


def _raise(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _strftime_now(format: str) -> str:  # noqa: A002 - the name templates use
    return datetime.now().strftime(format)


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
