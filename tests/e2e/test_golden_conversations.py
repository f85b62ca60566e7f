"""A service of before speaks, as it was recorded: today's client gets the labels that it sent."""

import pytest

from labelcast import LabelClient
from tests.golden.conversation import METHODS, NAMES, load
from tests.golden.questions import QUESTIONS
from tests.golden.replaying_server import replaying_server

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize("name", NAMES)
def test_a_client_understands_what_was_said_to_clients_of_before(name: str) -> None:
    known, conversation = {each.name: each for each in QUESTIONS}, load(name)
    with replaying_server(conversation.calls) as address:
        for question in conversation.questions:
            with LabelClient(address, reconnect_seconds=0) as client:
                known[question].ask(client)


def test_every_method_is_part_of_some_conversation() -> None:
    calls = [call for name in NAMES for call in load(name).calls]
    for method in METHODS:
        assert any(call.method == method and call.status is None for call in calls), method
    assert len({call.status.error[2] for call in calls if call.status is not None}) >= 6
