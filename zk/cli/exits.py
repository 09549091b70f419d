"""Exit codes, and how an error becomes one line and one code. Scripts rely on the numbers."""

from enum import IntEnum

from typer import TyperException

from zk.cli.output import note
from zk.model import errors


class ExitCode(IntEnum):
    OK = 0
    ERROR = 1
    USAGE = 2
    NO_NODE = 3
    EXISTS = 4
    BAD_VERSION = 5
    NOT_EMPTY = 6
    AUTH = 7
    CONNECTION = 8
    LOST = 9
    INTERRUPTED = 130  # 128 + SIGINT, as every shell has it


_BY_ERROR: tuple[tuple[type[Exception], ExitCode], ...] = (
    (errors.NoNodeError, ExitCode.NO_NODE),
    (errors.NodeExistsError, ExitCode.EXISTS),
    (errors.BadVersionError, ExitCode.BAD_VERSION),
    (errors.NotEmptyError, ExitCode.NOT_EMPTY),
    (errors.NoAuthError, ExitCode.AUTH),
    (errors.AuthFailedError, ExitCode.AUTH),
    (errors.SessionExpiredError, ExitCode.LOST),
    (errors.BadArgumentsError, ExitCode.USAGE),
    (ConnectionError, ExitCode.CONNECTION),
    (TimeoutError, ExitCode.CONNECTION),
)


def exit_code(error: BaseException) -> ExitCode:
    """The code that stands for this error: of a failed transaction, its cause's."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, errors.APIError):
        error = cause
    from zkclient.errors import LockLost  # here: where there is an error, a client's start-up time no longer matters

    if isinstance(error, LockLost):
        return ExitCode.LOST
    return next((code for kind, code in _BY_ERROR if isinstance(error, kind)), ExitCode.ERROR)


def report(error: BaseException) -> ExitCode:
    """Say in one line on stderr what went wrong, and return the code for it. What is a defect of ours is raised on."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    match error:
        case TyperException():
            usage = getattr(error, "ctx", None)  # the exceptions that have one are typer's own affair
            hint = f" (see {usage.command_path} --help)" if usage is not None else ""
            if text := error.format_message():  # empty when the help was shown instead
                note(f"zk: {text}{hint}")
            return ExitCode(error.exit_code)
        case KeyboardInterrupt():
            return ExitCode.INTERRUPTED
        case errors.ZKError() | OSError() | ValueError():
            note(f"zk: {error}")
            return exit_code(error)
        case _:
            raise error
