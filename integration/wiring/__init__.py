"""Where parts are joined into what the commands do. Imported by commands only when they run: it loads everything."""

from integration.wiring.catalog import catalog
from integration.wiring.demo import Demo, demo
from integration.wiring.doctor import Check, checks
from integration.wiring.parts import open_streams
from integration.wiring.pipeline import Progress
from integration.wiring.reading import reader, redis
from integration.wiring.run import Role, run
from integration.wiring.status import status
from integration.wiring.sync import SyncReport, sync

__all__ = [
    "Check", "Demo", "Progress", "Role", "SyncReport", "catalog", "checks", "demo", "open_streams", "reader", "redis",
    "run", "status", "sync",
]  # fmt: skip
