"""``python -m microtome.testing [KEY...] [--seeds N] [--update-counts]``: run the contract checks from a shell."""

import argparse
import sys
from collections.abc import Sequence

from microtome import methods
from microtome.errors import MicrotomeError
from microtome.testing import check_method
from microtome.testing.counts import counts_file, ran


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the reports; exit code 1 when a check failed."""
    parser = argparse.ArgumentParser(prog="python -m microtome.testing", description="Contract checks of methods.")
    parser.add_argument("keys", nargs="*", help="methods to check; default: all")
    parser.add_argument("--seeds", type=int, default=3, help="seeds of the statistical checks (20: the full form)")
    parser.add_argument("--update-counts", action="store_true", help="rewrite tests/contract/counts.json")
    options = parser.parse_args(arguments)
    try:
        keys = options.keys or list(methods.all_methods())
        reports = []
        for key in keys:
            reports.append(check_method(key, seeds=options.seeds))
            sys.stdout.write(f"{reports[-1]}\n")
            sys.stdout.flush()
        if options.update_counts:
            _update(reports, whole=not options.keys)
    except MicrotomeError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return error.exit_code
    return 0 if all(reports) else 1


def _update(reports: list, whole: bool) -> None:
    """Rewrite the committed counts: of all methods, or of those that were checked."""
    from microtome.io import read_json, write_json

    path = counts_file()
    kept = {} if whole or not path.is_file() else read_json(path)
    write_json(path, kept | {report.method: ran(report) for report in reports})


if __name__ == "__main__":
    raise SystemExit(main())
