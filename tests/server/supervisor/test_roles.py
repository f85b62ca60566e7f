"""Which processes a service has."""

from labelcast_server.supervisor import entry_points
from labelcast_server.supervisor.roles import Turn, roles_of


def test_each_role_has_its_own_name_and_main() -> None:
    roles = roles_of(decoders=2, workers=3)
    mains = {role.name: getattr(role.main, "func", role.main) for role in roles}
    assert mains == {
        "decoder-0": entry_points.decoder,
        "decoder-1": entry_points.decoder,
        "io-worker-0": entry_points.io_worker,
        "io-worker-1": entry_points.io_worker,
        "io-worker-2": entry_points.io_worker,
        "admin": entry_points.admin_api,
    }


def test_who_answers_others_is_there_before_anybody_asks() -> None:
    early = [
        role.name for role in roles_of(decoders=2, workers=2) if role.turn is Turn.ANSWERS_OTHERS
    ]
    assert early == ["decoder-0", "decoder-1"]
    assert [*Turn] == [Turn.ANSWERS_OTHERS, Turn.TAKES_REQUESTS]
