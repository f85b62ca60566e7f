"""The admin API: REST for publishing label sets."""

from labelcast_server.admin.app import create_app
from labelcast_server.admin.server import serve_admin

__all__ = ["create_app", "serve_admin"]
