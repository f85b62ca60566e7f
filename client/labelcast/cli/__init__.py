"""The `labelcast` command."""


def main() -> None:
    """Run the command line and end the process."""
    from labelcast.cli.app import app
    from labelcast.cli.run import run

    run(app, name="labelcast", extra="producers")
