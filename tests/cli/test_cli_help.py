"""What the help promises exists: commands, options, examples."""

import inspect
import re
import shlex
from pathlib import Path

import pytest
import typer.main
from cli_run import ROOT, cli, process

from microtome.cli import app

ROOT_COMMAND = typer.main.get_command(app)
REGISTERED = list(ROOT_COMMAND.commands)  # type: ignore[attr-defined]
#: The list that the documents give.
DOCUMENTED = [
    "study", "study verify", "record", "decompose", "decompose compare", "decompose convert", "describe", "search",
    "attribute", "attribute evaluate", "visualise", "trace", "methods", "methods show", "replicate", "organisms", "bench",
    "doctor",
]  # fmt: skip


def parts(name: str) -> dict[str, object]:
    """Parameters of a command by name."""
    return {p.name: p for p in ROOT_COMMAND.commands[name].params}  # type: ignore[attr-defined]


def test_the_documented_commands_are_the_registered_ones():
    assert REGISTERED == DOCUMENTED


def test_the_root_help_lists_every_command_in_order():
    shown = cli("--help").stdout
    at = [re.search(rf"^│ {name}  +\S", shown, re.MULTILINE).start() for name in DOCUMENTED]  # type: ignore[union-attr]
    assert at == sorted(at)


@pytest.mark.parametrize("name", REGISTERED)
def test_each_command_has_help_examples_and_the_shared_options(name):
    result = cli(*name.split(), "--help")
    assert result.exit_code == 0
    assert f"Usage: microtome {name} [OPTIONS]" in " ".join(result.stdout.split())
    for option in ("--json", "--quiet", "--debug"):
        assert option in result.stdout
    found = examples(name)
    assert found
    assert all(example.split()[0] in result.stdout for example in found)


def examples(name: str) -> list[str]:
    """The example lines of a command's help."""
    lines = ROOT_COMMAND.commands[name].epilog.split("\n\n")  # type: ignore[attr-defined]
    return [line for line in lines if line.startswith("microtome")]


@pytest.mark.parametrize("name", REGISTERED)
def test_examples_are_commands_that_exist_with_options_that_exist(name):
    for example in examples(name):
        words = shlex.split(example.partition(" > ")[0])[1:]
        two = " ".join(words[:2])
        command = two if two in REGISTERED else words[0]
        assert command in REGISTERED, example
        known = {o for p in ROOT_COMMAND.commands[command].params for o in p.opts}  # type: ignore[attr-defined]
        before_dashes = words[: words.index("--")] if "--" in words else words
        assert {w for w in before_dashes if w.startswith("-")} <= known, example


@pytest.mark.parametrize("name", ["study", "record", "decompose", "describe", "search", "attribute", "visualise", "trace"])
def test_commands_that_run_a_network_take_seed_and_device(name):
    assert {"seed", "device"} <= set(parts(name))


def test_commands_that_other_files_name_exist():
    """Makefile, README, docs and messages in the source speak of commands; each must be there."""
    files = [ROOT / "Makefile", ROOT / "README.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("src/**/*.py")]
    for file in files:
        text = file.read_text(encoding="utf8") if file.is_file() else ""
        named = re.findall(r"(?:bin/|`|: |^\$ |^    )microtome ([a-z]+)\b", text, re.MULTILINE)
        assert set(named) <= {n.split()[0] for n in REGISTERED}, file


def test_a_command_is_one_small_file_and_stays_a_function():
    folder = Path(inspect.getfile(__import__("microtome.cli.study", fromlist=["x"]))).parent
    first_words = {name.split()[0] for name in REGISTERED}
    assert first_words <= {p.stem for p in folder.glob("*.py")}
    assert all(len(p.read_text().splitlines()) <= 250 for p in folder.glob("*.py"))
    from microtome.cli.doctor import doctor

    assert doctor().data["versions"]["microtome"]


def test_no_command_shows_the_help_and_an_unknown_one_its_neighbour():
    assert "Commands" in cli().stdout
    wrong = cli("stuudy")
    assert wrong.exit_code == 2
    assert wrong.stderr.startswith("error: No such command 'stuudy'")
    assert "microtome --help" in wrong.stderr


def test_help_loads_no_heavy_library():
    import subprocess
    import sys

    code = (
        "import sys; from microtome.cli import app\n"
        "app(['study', '--help'], standalone_mode=False)\n"
        "heavy = {'torch', 'numpy', 'pandas', 'transformers', 'pyarrow', 'sklearn', 'scipy'} & set(sys.modules)\n"
        "print('HEAVY', sorted(heavy))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT / "src", check=True)
    assert "HEAVY []" in done.stdout


def test_python_dash_m_and_the_version():
    from microtome import __version__

    done = process("--version")
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, __version__, "")


def test_completion_offers_commands_second_words_options_and_organisms(monkeypatch):
    def offered(line: str) -> list[str]:
        done = process(_MICROTOME_COMPLETE="complete_bash", COMP_WORDS=line, COMP_CWORD=str(line.count(" ")))
        return done.stdout.split()

    assert offered("microtome stu") == ["study"]
    assert "--twins" in offered("microtome study --tw")
    assert offered("microtome study ver") == ["verify"]
    assert "organism:vision-cnn" in offered("microtome search organism:vis")
    # Without this, typer asks the process above it which shell it runs in, and there need not be one.
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    shown = cli("--show-completion", "bash")
    assert shown.exit_code in (0, 2), shown.stderr  # 2 where this typer takes no name of a shell
