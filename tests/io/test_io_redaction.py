# ruff: noqa: E501, UP031  (tables of payloads)
"""Promise 9: no key is written or printed."""

import copy
import io
import json
import logging
import pickle
import traceback
from urllib.parse import quote

import pytest

from microtome.errors import MicrotomeError, UsageError
from microtome.io import RedactFilter, Secret, dump_json, redact

ENVIRONMENT = {
    "OPENAI_API_KEY": "canary-openai-0001/x+y", "HF_TOKEN": "canary-hub-0002", "AWS_SECRET_ACCESS_KEY": "canary-aws-0003=",
    "DB_PASSWORD": "canary pass 0004", "my_token": "canary-lower-0005", "GH_SECRET": "canary-gh-0006", "X_PASSWD": "canary-pw-0007",
    "SSH_PASSPHRASE": "canary-ph-0008", "GCP_CREDENTIALS": "canary-gcp-0009", "A_KEY": "canary", "B_KEY": "canary-openai",
}  # fmt: skip
BODY = "Zq8Lm2Xw9Rt4Kp7Vn3"
SHAPES = [
    "Authorization: Bearer {}", "authorization: bearer {}", "'Authorization': 'Bearer {}'", "Authorization: Basic {}", "Authorization: Token {}",
    "x-api-key: {}", "X-API-Key: {}", '{{"api_key": "{}"}}', "{{'api_key': '{}'}}", "api_key={}", "api-key={}", "apikey={}", "?token=1&api_key={}&q=2",
    "access_token={}", "https://x/y?access_token={}#z", "password={}", "password: {}", "passwd={}", "client_secret={}", "secret = {}",
    "https://{}@github.com/a/b.git", "https://user:{}@host/x", "http://{}:x-oauth-basic@github.com/a", "postgres://u:{}@db/x", "ssh://{}@host",
    "origin\thttps://oauth2:{}@gitlab.com/a (fetch)", "sk-{}", "sk-proj-{}", "hf_{}", "ghp_{}", "gho_{}", "github_pat_{}", "glpat-{}", "xoxb-{}",
    "AKIA{}", "AIza{}", "pypi-{}", "npm_{}", "hf_token={}", "curl -H 'Authorization: Bearer {}' x", "HTTPError 401 for https://a:{}@h/v1",
    "retry 3: headers={{'authorization': 'Bearer {}'}}",
]  # fmt: skip


def test_secrets_of_the_environment():
    for value in ENVIRONMENT.values():
        for text in (value, f"x{value}y", json.dumps({"a": value}), quote(value, safe=""), f"line\n{value}\nline"):
            shown = redact(text, ENVIRONMENT)
            assert value not in shown
            assert quote(value, safe="") not in shown
            assert "***" in shown


def test_shapes_of_secrets():
    assert len(SHAPES) + len(ENVIRONMENT) >= 40
    for shape in SHAPES:
        assert BODY not in redact(shape.format(BODY), {}), shape
        assert BODY not in redact(f"before {shape.format(BODY)} after", {}), shape


def test_ordinary_text_is_unchanged():
    for text in (
        "the token ' the' has rank 3", "blocks.3.attn.k", "key-value pairs", "https://host/path?x=1@2", "a basic example", "mail me@host.org",
        "the secret of the bearer", "Token counts: 12", "password", "d_model=64", "task-specific sk-learn", "tokens=12", "key=3",
    ):  # fmt: skip
        assert (
            redact(
                text,
                {"SHORT_KEY": "1", "EMPTY_TOKEN": "", "HOME": "/root", "MONKEY": "key-value"} | {"MONKEY": "zzzzzz"},
            )
            == text
        )


def test_a_secret_shows_nothing():
    key = Secret("canary-value-77")
    shown = [
        repr(key),
        str(key),
        f"{key}",
        f"{key!r:>20}",
        "%s" % key,
        repr({"k": key}),
        repr([key]),
        format(key, "20"),
    ]
    assert not any("canary" in text for text in shown)
    assert key.reveal() == "canary-value-77"
    assert key == Secret("canary-value-77")
    assert key != Secret("other")
    assert key != "canary-value-77"
    assert key
    assert not Secret("")
    for leak in (pickle.dumps, copy.deepcopy):
        with pytest.raises(UsageError, match="not stored"):
            leak(key)
    with pytest.raises(MicrotomeError):
        dump_json({"key": key})
    assert not hasattr(key, "__dict__")
    assert redact("sent canary-value-77 to x", {}) == "sent *** to x"


@pytest.fixture
def log():
    """A logger with the filter, and what it printed."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.addFilter(RedactFilter())
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    logger = logging.Logger("test")
    logger.addHandler(handler)
    return logger, stream


def test_the_logging_filter(log):
    logger, stream = log
    key = Secret("canary-log-5566")
    logger.error("header %s", {"x": key.reveal()})
    logger.error("canary-log-5566 %d", "not a number")
    try:
        raise RuntimeError(f"401 for key {key.reveal()}")
    except RuntimeError:
        logger.exception("failed with %s", key.reveal(), stack_info=True)
    text = stream.getvalue()
    assert "canary" not in text.replace('reveal()}")', "")
    assert "RuntimeError: 401 for key ***" in text
    assert text.count("***") >= 3


def test_exception_text():
    key = Secret("canary-exception-1")
    try:
        try:
            raise KeyError(key.reveal())
        except KeyError as error:
            raise RuntimeError("outer") from error
    except RuntimeError as error:
        text = "".join(traceback.format_exception(error))
    assert "canary-exception-1" in text
    assert "canary-exception-1" not in redact(text)
