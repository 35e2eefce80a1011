"""`python -m fldrep COMMAND ...`: the commands, and how a user's mistake ends."""

import logging
import sys

import typer

from fldrep.cli.audit import audit_command
from fldrep.cli.crate import crate_command
from fldrep.cli.diff import diff_command
from fldrep.cli.estimate import estimate_command
from fldrep.cli.leaderboard import leaderboard_command
from fldrep.cli.map import map_command
from fldrep.cli.paper import paper_command
from fldrep.cli.photo import photo_command
from fldrep.cli.publish import publish_command
from fldrep.cli.run import run_command
from fldrep.cli.schema import schema_command
from fldrep.cli.status import status_command
from fldrep.errors import FLDRepError

app = typer.Typer(
    help="Does a gradient defense protect the clients of federated learning?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("photo")(photo_command)
app.command("audit")(audit_command)
app.command("estimate")(estimate_command)
app.command("leaderboard")(leaderboard_command)
app.command("status")(status_command)
app.command("schema")(schema_command)
app.command("publish")(publish_command)
app.command("diff")(diff_command)
app.command("crate")(crate_command)
app.command("map")(map_command)
app.command("paper")(paper_command)
# What stands behind the name of a job is the job's own, `--help` included.
app.command(
    "run",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "allow_interspersed_args": False},
)(run_command)


def main() -> None:
    """Run a command; a user's mistake ends in one line and exit code 2."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        app()
    except FLDRepError as error:
        print(f"fldrep: error: {error}", file=sys.stderr)
        sys.exit(2)
