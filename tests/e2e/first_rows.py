"""A few codes, read by a client that was pickled; whoever is spawned for it imports little else."""

from labelcast import LabelClient, Representation, Views


def codes_of_first_rows(client: LabelClient) -> bytes:
    """Codes of two views of the label set raw."""
    with client:
        label_set = client.open("raw")
        views = Views.of([10**12 + 7, 10**12], [3, 0])
        return client.labels(label_set, views, Representation.codes()).rows.tobytes()
