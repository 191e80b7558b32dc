"""What reaches the terminal: one line per error, no secret, no escape sequence, no colour where it is not wanted."""

import json
import logging
import sys
import warnings

import pytest
import typer
from cli_run import cli, process
from typer.testing import CliRunner

from microtome.cli.answer import Answer, Grid
from microtome.cli.command import Root, command, keeps
from microtome.cli.plain import document
from microtome.cli.streams import log
from microtome.errors import BudgetExceeded, MicrotomeError, UnsafeContent, UsageError

KEYS = {"OPENAI_API_KEY": "zz-canary-openai-4711", "HF_TOKEN": "zz-canary-hf-4712", "MY_PASSWORD": "zz/canary?4713"}


def run(work, *arguments):
    """A command line of the one command `go`, made as all are."""
    app = typer.Typer(cls=Root)
    command(app, "go", examples=("microtome go",))(work)
    app.callback()(lambda: None)
    return CliRunner().invoke(app, ["go", *arguments])


def failing(error: BaseException):
    def work() -> Answer:
        raise error

    return work


@pytest.mark.parametrize(
    ("error", "code"),
    [(MicrotomeError("a"), 1), (UsageError("a"), 2), (UnsafeContent("a"), 3), (BudgetExceeded("a"), 4), (OSError("a"), 1),
     (ValueError("a"), 1), (KeyboardInterrupt(), 130)],
)  # fmt: skip
def test_exit_codes(error, code):
    result = run(failing(error))
    assert result.exit_code == code
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert "Traceback" not in result.stderr


def test_a_check_that_fails_prints_its_answer_and_exits_with_1():
    result = run(lambda: Answer({"damage": [1]}, ["one file differs"], 1), "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["damage"] == [1]


def test_errors_are_one_line_and_debug_shows_the_traceback():
    plain = run(failing(UsageError("first\nsecond\x1b[31m\u202e")))
    assert plain.stderr == "error: first second[U+001B][31m[U+202E]\n"
    debug = run(failing(UsageError("first")), "--debug")
    assert "Traceback" in debug.stderr
    assert "UsageError: first" in debug.stderr


def test_an_error_that_nobody_foresaw_says_so():
    assert "fault of microtome" in run(failing(RuntimeError("boom"))).stderr


def test_markup_in_data_is_text():
    shown = run(lambda: Answer({}, ["[bold]x[/bold]", Grid(["[red]c"], [["[link=a]b[/link]"]], "[i]t")])).stdout
    for text in ("[bold]x[/bold]", "[red]c", "[link=a]b[/link]", "[i]t"):
        assert text in shown


@pytest.mark.parametrize("arguments", [(), ("--json",), ("--debug",), ("--quiet",)])
@pytest.mark.parametrize("secret", KEYS.values())
def test_no_secret_in_any_stream_whatever_happens(arguments, secret, monkeypatch):
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)

    def talks() -> Answer:
        sys.stdout.write(f"a library prints {secret}")
        log.info("a log of %s", secret)
        logging.getLogger("other").warning("another log of %s", secret)
        warnings.warn(f"a warning of {secret}", stacklevel=1)
        return Answer({secret: [secret, {"a": f"x {secret}"}]}, [f"answer {secret}", Grid([secret], [[secret]], secret)])

    for work in (talks, failing(UsageError(f"no file '{secret}'")), failing(RuntimeError(secret)), failing(OSError(secret))):
        result = run(work, *arguments)
        assert secret not in result.stdout + result.stderr


def test_prints_of_libraries_do_not_spoil_the_document():
    def talks() -> Answer:
        sys.stdout.write("loading...")
        return Answer({"a": 1})

    result = run(talks, "--json")
    assert json.loads(result.stdout)["a"] == 1
    assert "loading..." in result.stderr


def test_warnings_are_one_line_and_quiet_hides_notes_but_not_warnings():
    def talks() -> Answer:
        log.info("a note")
        warnings.warn("mind\nthis", UserWarning, stacklevel=1)
        return Answer({})

    assert run(talks).stderr == "a note\nwarning: mind this\n"
    assert run(talks, "--quiet").stderr == "warning: mind this\n"


def test_stopping_says_what_is_kept():
    def work() -> Answer:
        with keeps("the first half is in 'x'; give the same command again."):
            raise KeyboardInterrupt

    result = run(work)
    assert (result.exit_code, result.stderr) == (130, "stopped: the first half is in 'x'; give the same command again.\n")


def test_the_document_is_strict_json_for_odd_values():
    import numpy as np
    import pandas as pd
    import torch

    odd = {"nan": float("nan"), "inf": np.float32("inf"), "na": pd.NA, "int": np.int64(3), "t": torch.ones(2), "path": b"x",
           "text": "\x1b[31m\u202e", 1: (True, None)}  # fmt: skip
    text = document(odd)
    assert text.isascii()
    assert "\x1b" not in text
    found = json.loads(text, parse_constant=lambda word: 1 / 0)
    assert found["nan"] is found["inf"] is found["na"] is None
    assert (found["int"], found["t"], found["1"]) == (3, [1.0, 1.0], [True, None])


def test_colour_only_where_it_is_wanted():
    arguments = ("study", "--seed", "x")
    coloured, plain = process(*arguments, FORCE_COLOR="1"), process(*arguments, FORCE_COLOR="1", NO_COLOR="1")
    assert "\x1b[1;31merror" in coloured.stderr
    assert "31m" not in plain.stderr
    assert plain.returncode == 2


def test_a_secret_in_a_path_or_an_option_is_never_printed(monkeypatch):
    secret = "zz-canary-4714-value"
    monkeypatch.setenv("SOME_API_KEY", secret)
    for arguments in (
        ("record", f"./{secret}/model", "--site", "a", "--out", "b"), ("study", "--seed", secret), (secret,),
        ("methods", "show", secret, "--debug"), ("study", "--device", secret),
    ):  # fmt: skip
        done = cli(*arguments)
        assert done.exit_code == 2
        assert secret not in done.stdout + done.stderr
    done = process("methods", "show", secret, "--debug", SOME_API_KEY=secret)
    assert (done.returncode, "Traceback" in done.stderr, secret in done.stdout + done.stderr) == (2, True, False)
