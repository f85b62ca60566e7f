"""`labelcast-server`: for those who run a service. Heavy imports stay inside commands."""

from labelcast.cli.panels import add_version
from labelcast.cli.run import new_app, run
from labelcast_server.cli import doctor, one_process, serve

app = new_app("Run a label service, check its health and diagnose its machine.")
add_version(app, "labelcast-server")
serve.add_to(app)
doctor.add_to(app)
one_process.add_to(app)


def main() -> None:
    """Console entry point."""
    run(app, name="labelcast-server", extra="server")
