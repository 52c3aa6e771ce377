"""The command line: finds the command, and turns every mistake into one line on stderr and a documented exit code."""

import io
import os
import signal
import sys
import traceback
from typing import Any, NoReturn

import click

from curate.commands import (
    advising,
    attributing,
    auditing,
    benching,
    comparing,
    distilling,
    embedding,
    exporting,
    listing,
    mapping,
    reporting,
    scoring,
    selecting,
    showing,
)
from curate.errors import CurateError, did_you_mean


class Suggesting(click.Group):
    """A group that says which command was meant."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            raise click.UsageError(f'No command "{args[0]}".{did_you_mean(args[0], self.commands)} There are: {", ".join(self.commands)}.')
        return super().resolve_command(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(cls=Suggesting, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="curatekit", prog_name="curate")
def cli() -> None:
    """Tells you which rows of a dataset are worth training on.

    DATA is a parquet, csv, jsonl or arrow file or glob, a save_to_disk folder, an image folder, a hub name (org/name[:config][@revision]),
    or a bundled sample (sample:digits). The same command, run again, goes on where it stopped.

    Exit codes: 0 done, 1 unexpected, 2 wrong usage, 3 bad input, 4 a missing extra, 5 too many rows failed, 6 the out folder holds another
    job, 7 does not fit, 130/143 interrupted (run the same command again).
    """


for _command in (
    auditing.audit,
    scoring.score,
    embedding.embed,
    selecting.select,
    distilling.distill,
    exporting.export,
    comparing.compare,
    benching.bench,
    advising.advise,
    attributing.lds,
    attributing.influence,
    listing.list_,
    showing.show,
    showing.verify,
    mapping.map_,
    reporting.report,
):
    cli.add_command(_command)


def main() -> NoReturn:
    """Runs the command; every mistake becomes one line and an exit code."""
    signal.signal(signal.SIGTERM, _terminated)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # names of files need not be UTF-8, and terminals need not know every letter
    # Read when `datasets` is imported, later: its bars would mix with ours and fill log files.
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    try:
        cli.main(standalone_mode=False)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except (KeyboardInterrupt, click.Abort):
        _fail("interrupted. What is finished is saved; the same command goes on.", 130)
    except CurateError as error:
        _fail(str(error), error.exit_code)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(2)
    except click.ClickException as error:
        _fail(error.format_message(), 2)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)
    except MemoryError:
        _fail("out of memory. Use --limit, a smaller --batch-size, or a machine with more.", 7)
    except Exception as error:  # the one place that may: whatever is left is a bug, and is said to be one
        _fail(f"unexpected {type(error).__name__}: {error}. Run it again with --debug for the traceback, and please report it.", 1)
    sys.exit(0)


def _fail(message: str, code: int) -> NoReturn:
    if "--debug" in sys.argv:
        traceback.print_exc()
    click.echo(f"Error: {' '.join(message.split())}", err=True)
    sys.exit(code)


def _terminated(number: int, frame: object) -> NoReturn:
    click.echo("Error: terminated. What is finished is saved; the same command goes on.", err=True)
    sys.exit(143)
