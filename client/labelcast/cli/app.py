"""The command line, put together from its groups."""

from labelcast.cli import fetching, publishing, showing
from labelcast.cli.run import new_app

app = new_app("Publish, look at and fetch label sets.")

for group in (publishing, showing, fetching):
    group.add_to(app)
