"""What Tab offers: commands, a command's options, and znodes as they are now."""

import shlex
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence

from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document

from zk.cli.shell.console import ShellConsole
from zk.model.errors import ZKError

ZNODES_OFFERED_MAX = 50
ANSWER_TIMEOUT_S = 1.0  # a prompt that hangs is worse than one without completion


class ShellCompleter(Completer):
    """Completes the last word before the cursor. `options` are each command's, by its name."""

    def __init__(self, console: ShellConsole, options: Mapping[str, Sequence[str]]) -> None:
        self._console = console
        self._options = options

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        return ()  # the prompt is asynchronous and uses the method below

    async def get_completions_async(
        self, document: Document, complete_event: CompleteEvent
    ) -> AsyncGenerator[Completion, None]:
        words = split_words(document.text_before_cursor)
        last = words[-1]
        if len(words) == 1:
            for name in sorted(self._options):
                if name.startswith(last):
                    yield Completion(name, start_position=-len(last))
        elif last.startswith("-"):
            for option in self._options.get(words[0], ()):
                if option.startswith(last):
                    yield Completion(option, start_position=-len(last))
        else:
            for path in await self._znodes(last):
                yield Completion(shlex.quote(path), start_position=-len(last))

    async def _znodes(self, typed: str) -> list[str]:
        """What `typed` could become: it up to its last '/', and the name of a child there."""
        prefix = typed.rpartition("/")[2]
        shown = typed[: len(typed) - len(prefix)]
        directory = self._console.path(shown or ".")
        try:
            async for page in self._console.zk.pages(
                directory, prefix=prefix, page_size=ZNODES_OFFERED_MAX, timeout=ANSWER_TIMEOUT_S
            ):
                return [shown + entry.name for entry in page]
        except ZKError:
            pass  # nothing to offer; the command itself will say what is wrong
        return []


def split_words(text: str) -> list[str]:
    """The words of an unfinished line; the last one, which may be empty, is the one being typed."""
    try:
        words = shlex.split(text)
    except ValueError:
        return text.split(" ")  # an open quote: the words are as they look
    if not text or text[-1].isspace():
        words.append("")
    return words
