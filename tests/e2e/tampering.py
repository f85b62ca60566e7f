"""What a hostile peer does to messages, from a lost one to a lie that fits in every number."""

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from google.protobuf.message import Message

from labelcast import Views, wire
from labelcast.checksums import crc32
from labelcast.v2 import labels_pb2 as pb
from tests.e2e.hostile_peer import Messages, Tamper

AnyMessage = TypeVar("AnyMessage", bound=Message)


def drop(messages: Messages) -> Messages:
    """The chosen message never arrives."""
    next(messages)
    yield from messages


def duplicate(messages: Messages) -> Messages:
    """It arrives twice."""
    chosen = next(messages)
    yield from (chosen, chosen)
    yield from messages


def swap(messages: Messages) -> Messages:
    """Its successor overtakes it."""
    chosen, successor = next(messages), next(messages)
    yield from (successor, chosen)
    yield from messages


def truncate(messages: Messages) -> Messages:
    """Its last byte is lost."""
    yield next(messages)[:-1]
    yield from messages


def end_before(messages: Messages) -> Messages:
    """Neither it nor anything after it arrives, and the stream is closed as if it were whole."""
    next(messages)
    yield from ()


def rewrite(kind: type[AnyMessage], change: Callable[[AnyMessage], None]) -> Tamper:
    """It says something else."""

    def tamper(messages: Messages) -> Messages:
        message = kind.FromString(next(messages))
        change(message)
        yield message.SerializeToString()
        yield from messages

    return tamper


def replaced(by: Callable[[bytes], bytes]) -> Tamper:
    """Another message comes in its place."""

    def tamper(messages: Messages) -> Messages:
        yield by(next(messages))
        yield from messages

    return tamper


def asking(change: Callable[[Views], Views]) -> Callable[[Any], None]:
    """Other views are asked for, under the same numbers."""

    def rewritten(request: Any) -> None:
        views = change(wire.views_from_proto(request.views))
        request.views.CopyFrom(wire.views_to_proto(views))

    return rewritten


def other_ids(views: Views) -> Views:
    return Views(np.roll(views.sample_ids, 1), views.seeds)


def other_seeds(views: Views) -> Views:
    return Views(views.sample_ids, np.roll(views.seeds, 1))


def rotated(views: Views) -> Views:
    return Views(np.roll(views.sample_ids, 1), np.roll(views.seeds, 1))


def without_first(views: Views) -> Views:
    return views[1:]


def without_last(views: Views) -> Views:
    return views[:-1]


def drop_unnoticed(messages: Messages) -> Messages:
    """A request is lost and all later ones are renumbered: what gRPC's replay did to v1."""
    lost = len(wire.views_from_proto(pb.StreamLabelsRequest.FromString(next(messages)).views))
    for message in messages:
        request = pb.StreamLabelsRequest.FromString(message)
        request.first_row -= lost
        yield request.SerializeToString()


def shift_unnoticed(messages: Messages) -> Messages:
    """Every request from the chosen one on asks for the views one row further, under its number."""
    held = pb.StreamLabelsRequest.FromString(next(messages))
    for message in messages:
        following = pb.StreamLabelsRequest.FromString(message)
        views, more = wire.views_from_proto(held.views), wire.views_from_proto(following.views)
        moved = Views(
            np.append(views.sample_ids[1:], more.sample_ids[:1]),
            np.append(views.seeds[1:], more.seeds[:1]),
        )
        held.views.CopyFrom(wire.views_to_proto(moved))
        yield held.SerializeToString()
        held = following
    yield held.SerializeToString()


def swap_unnoticed(messages: Messages) -> Messages:
    """Two replies change places, and each gets the other's number."""
    first = pb.StreamLabelsResponse.FromString(next(messages))
    second = pb.StreamLabelsResponse.FromString(next(messages))
    first.rows.first_row, second.rows.first_row = second.rows.first_row, first.rows.first_row
    yield from (second.SerializeToString(), first.SerializeToString())
    yield from messages


def renumber(reply: pb.StreamLabelsResponse) -> None:
    reply.rows.first_row += 1


def miscount(reply: pb.StreamLabelsResponse) -> None:
    reply.rows.count -= 1


def empty(reply: pb.StreamLabelsResponse) -> None:
    reply.rows.Clear()


def move_payload(reply: pb.StreamLabelsResponse) -> None:
    """By one row, round to the beginning."""
    stride = len(reply.rows.payload) // reply.rows.count
    reply.rows.payload = reply.rows.payload[stride:] + reply.rows.payload[:stride]


def flip(reply: pb.StreamLabelsResponse) -> None:
    content = bytearray(reply.rows.payload)
    content[len(content) // 2] ^= 1
    reply.rows.payload = bytes(content)


def cut_last_row(reply: pb.StreamLabelsResponse) -> None:
    """With count and checksum of the payload to fit."""
    rows = reply.rows
    rows.payload = rows.payload[: -(len(rows.payload) // rows.count)]
    rows.count -= 1
    rows.payload_crc32 = crc32(rows.payload)


def cut_first_row(reply: pb.StreamLabelsResponse) -> None:
    """With count and checksum of the payload to fit."""
    rows = reply.rows
    rows.payload = rows.payload[len(rows.payload) // rows.count :]
    rows.count -= 1
    rows.payload_crc32 = crc32(rows.payload)
