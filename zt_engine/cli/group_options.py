"""A group whose own options may stand after the subcommand too, where most people write them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from typer.core import TyperGroup, TyperOption


class Anywhere(TyperGroup):
    """Takes the group's options from wherever they stand, up to a `--`. No subcommand may have one of its own name."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Bring the group's options to the front."""
        own = {
            name: option
            for option in self.params
            if isinstance(option, TyperOption) and option.name != "help"
            for name in option.opts
        }
        front: list[str] = []
        rest: list[str] = []
        words = iter(args)
        for word in words:
            if word == "--":
                rest += [word, *words]
                break
            option = own.get(word.partition("=")[0])
            if option is None:
                rest.append(word)
            else:
                front += [word, *_value(option, word, words)]
        return super().parse_args(ctx, front + rest)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a subcommand, whose help names the group's options as well."""
        command = super().get_command(ctx, cmd_name)
        if command is not None:
            names = ", ".join(option.opts[0] for option in self.params if isinstance(option, TyperOption))
            command.epilog = f"Also here, or before the subcommand: {names}."
        return command


def _value(option: TyperOption, word: str, words: Iterator[str]) -> Iterator[str]:
    """Yield the word behind an option that has a value, unless that stands in the same word."""
    if not option.is_flag and "=" not in word:
        yield from (value for value in [next(words, None)] if value is not None)
