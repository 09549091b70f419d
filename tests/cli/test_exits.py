"""Errors become one line and one exit code."""

import pytest
import typer
from zkclient.errors import ConnectionLossError, LockLost, OperationTimeoutError, SessionExpiredError, TransactionFailed

import zk
from zk.build import COMPILED
from zk.cli.exits import ExitCode, exit_code, report
from zk.cli.main import main
from zk.model import errors
from zk.model.requests import Delete


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.NoNodeError("/a"), 3),
        (errors.NodeExistsError("/a"), 4),
        (errors.BadVersionError("/a"), 5),
        (errors.NotEmptyError("/a"), 6),
        (errors.NoAuthError("/a"), 7),
        (errors.AuthFailedError(), 7),
        (ConnectionLossError("no server"), 8),
        (OperationTimeoutError("late"), 8),
        (SessionExpiredError(), 9),
        (LockLost("/lock", "session lost"), 9),
        (errors.BadArgumentsError("x"), 2),
        (errors.QuotaExceededError("/a"), 1),
        (TransactionFailed(0, Delete("/a"), errors.NoNodeError("/a")), 3),
        (FileNotFoundError("@missing"), 1),
    ],
)
def test_every_refusal_has_its_exit_code(error: Exception, code: int) -> None:
    assert exit_code(error) == code


def test_an_error_is_one_line_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    assert report(errors.NoNodeError("/config")) == ExitCode.NO_NODE
    assert capsys.readouterr() == ("", "zk: /config (code -101): the node does not exist\n")


def test_an_error_out_of_a_task_group_is_the_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert report(ExceptionGroup("", [ExceptionGroup("", [errors.NoNodeError("/a")])])) == ExitCode.NO_NODE


def test_a_bad_argument_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert report(typer.BadParameter("no such thing")) == ExitCode.USAGE
    assert capsys.readouterr().err == "zk: Invalid value: no such thing\n"


def test_a_defect_of_ours_keeps_its_traceback() -> None:
    with pytest.raises(KeyError):
        report(KeyError("oops"))


def test_the_version_says_which_build_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"zk {zk.__version__}, {'compiled' if COMPILED else 'pure Python'}\n"
