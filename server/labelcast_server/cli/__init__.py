"""`labelcast-server`: serve label sets, and make them. Heavy imports stay inside commands."""

from labelcast.cli.run import exit_code_of, new_app
from labelcast_producers.cli import budget, importing, produce, relabel
from labelcast_producers.process_end import leave
from labelcast_server.cli import serve

app = new_app("Serve compressed soft labels, and make them: import, relabel, fit, encode.")
for group in (serve, importing, relabel, produce, budget):
    group.add_to(app)


def main() -> None:
    """Console entry point."""
    leave(exit_code_of(app, name="labelcast-server"))
