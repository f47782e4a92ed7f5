"""One coordinator at a time: a lock on a local store, and a lease with a heartbeat on any.

Nothing is lost where two run in spite of it, as where clocks differ or a machine sleeps: both write the same bytes and
the same records. The lease saves the work that would be done twice, and keeps compaction to one.
"""

from __future__ import annotations

import getpass
import json
import os
import platform
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from xcloudmask.errors import WriteError, XCloudMaskError
from xcloudmask.run.objects import Objects

__all__ = ["Holder", "Lease", "LeaseHeldError", "hold_lease", "holder_of"]

LEASE, LOCK = "ledger/lease.json", "ledger/lease.lock"
BEAT_S, LIMIT_S = 10.0, 60.0

_BYTES = 10_000
_SETTLE_S = 1.0
_JOIN_S = 5.0
"""A heartbeat that hangs does not keep the process from ending."""
_TRIES = 5
_MOST_S = 24 * 3600.0
"""More than anybody waits: a lease that says so is none."""
_OWN: set[str] = set()
"""Leases that this process holds."""


class LeaseHeldError(WriteError):
    """Another process coordinates the campaign."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Who coordinates, as the lease says."""

    token: str
    """Of this lease, at random."""
    who: str
    """User, machine, process."""
    machine: str
    """Equal where process numbers mean the same."""
    pid: int
    since: str
    """ISO 8601, UTC."""
    beat: float
    """Of the last heartbeat, seconds since 1970, by the clock of the holder."""
    beat_s: float
    """Between heartbeats."""
    limit_s: float
    """Age of the last heartbeat at which the lease may be taken over."""


class Lease:
    """A lease that is held.

    Parameters
    ----------
    holder
        This process.
    """

    def __init__(self, holder: Holder) -> None:
        self.holder = holder
        self.lost = threading.Event()
        """Set when another process has taken the lease over, or heartbeats did not get through for too long."""


@contextmanager
def hold_lease(
    objects: Objects,
    *,
    beat_s: float = BEAT_S,
    limit_s: float = LIMIT_S,
    on_lost: Callable[[], None] | None = None,
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Lease]:
    """Hold the lease of a campaign.

    Parameters
    ----------
    objects
        The campaign's store.
    beat_s
        Between heartbeats, in seconds.
    limit_s
        Without a heartbeat for that long, others may take the lease over.
    on_lost
        Called once, from another thread, when somebody did: stop then. Nothing is lost.
    clock, sleep
        For tests.

    Yields
    ------
    Lease

    Raises
    ------
    LeaseHeldError
        Somebody else coordinates: says who and since when.
    WriteError
        The store cannot be written to.

    Examples
    --------
    >>> from xcloudmask.run.objects import open_objects
    >>> objects = open_objects("memory://campaigns/doc-lease")
    >>> with hold_lease(objects) as lease:
    ...     holder_of(objects) == lease.holder
    True
    >>> holder_of(objects) is None
    True
    """
    with ExitStack() as stack:
        locked = stack.enter_context(_locked(objects))
        me = _Acquiring(objects=objects, locked=locked, clock=clock, sleep=sleep).acquire(
            _myself(beat_s, limit_s, clock())
        )
        lease, stop = Lease(me), threading.Event()
        _OWN.add(me.token)
        stack.callback(_release, objects, me)
        beats = _Beats(objects, lease, stop, on_lost, clock)
        thread = threading.Thread(target=beats.run, name="xcloudmask-lease", daemon=True)
        thread.start()
        stack.callback(thread.join, _JOIN_S)
        stack.callback(stop.set)
        yield lease


def holder_of(objects: Objects, *, clock: Callable[[], float] = time.time) -> Holder | None:
    """Return who coordinates a campaign now.

    Parameters
    ----------
    objects
        The campaign's store.
    clock
        For tests.

    Returns
    -------
    Holder or None
        None where nobody does, or has not been heard of for too long.
    """
    found = _read(objects)
    return found if found is not None and not _dead(found) and _fresh(found, clock()) else None


@dataclass(slots=True)
class _Beats:
    """The heartbeat: says that the holder lives, and finds out whether somebody else has taken over."""

    objects: Objects
    lease: Lease
    stop: threading.Event
    on_lost: Callable[[], None] | None
    clock: Callable[[], float]

    def run(self) -> None:
        heard = self.clock()
        while not self.stop.wait(self.lease.holder.beat_s):
            with suppress(XCloudMaskError):  # the store may answer again before the limit
                if not self._beat():
                    break
                heard = self.clock()
            if self.clock() - heard > self.lease.holder.limit_s:
                break
        if not self.stop.is_set():
            self.lease.lost.set()
            if self.on_lost is not None:
                self.on_lost()

    def _beat(self) -> bool:
        found = _read(self.objects)
        if found is not None and found.token != self.lease.holder.token:
            return False
        _write(self.objects, self.lease.holder, self.clock())
        return True


@dataclass(slots=True, kw_only=True)
class _Acquiring:
    """How a lease is come by."""

    objects: Objects
    locked: bool
    """Whether this process has the lock of the store: whoever had it on this machine is gone."""
    clock: Callable[[], float]
    sleep: Callable[[float], None]

    def acquire(self, me: Holder) -> Holder:
        for _ in range(_TRIES):
            if self.objects.put(LEASE, _json(me), if_absent=True):
                return me
            found = _read(self.objects)
            if found is not None and found.token == me.token:  # a request that was repeated found its own first try
                return me
            if found is not None and not self._abandoned(found):
                raise LeaseHeldError(_refusal(self.objects, found, self.clock()))
            _write(self.objects, me, self.clock())
            if self.objects.folder is None:
                self.sleep(_SETTLE_S)  # another one may have come to the same conclusion: the last to write has it
            winner = _read(self.objects)
            if winner is not None and winner.token == me.token:
                return me
        raise LeaseHeldError(f"{self.objects.label}: several processes ask for the lease at once. Type the same again.")

    def _abandoned(self, found: Holder) -> bool:
        """Whether the holder is gone: its process, or its heartbeat by the clock and by watching."""
        if _dead(found) or (self.locked and found.machine == _machine()):
            return True
        if _fresh(found, self.clock()):
            return False
        self.sleep(1.5 * found.beat_s)  # clocks differ: a heart that beats is seen to beat
        again = _read(self.objects)
        return again is None or (again.token, again.beat) == (found.token, found.beat)


def _dead(found: Holder) -> bool:
    """Whether the holder was a process of this machine that is no more."""
    if os.name != "posix" or found.machine != _machine() or found.token in _OWN:
        return False
    if found.pid == os.getpid():  # the number was used again
        return True
    try:
        os.kill(found.pid, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False


def _fresh(found: Holder, now: float) -> bool:
    return abs(now - found.beat) <= found.limit_s


def _refusal(objects: Objects, found: Holder, now: float) -> str:
    return (
        f"{objects.label} is coordinated by {found.who}, since {found.since} UTC; its last sign of life is "
        f"{max(now - found.beat, 0):.0f} s old. Stop that one first; if it is gone, type the same again in "
        f"{found.limit_s:.0f} s."
    )


def _release(objects: Objects, me: Holder) -> None:
    _OWN.discard(me.token)
    with suppress(XCloudMaskError):  # it expires by itself
        found = _read(objects)
        if found is not None and found.token == me.token:
            objects.delete([LEASE])


@contextmanager
def _locked(objects: Objects) -> Iterator[bool]:
    """Hold a lock that ends with the process; False where the store is remote, or its file system has no locks."""
    try:
        import fcntl
    except ImportError:  # Windows
        fcntl = None  # type: ignore[assignment]
    if objects.folder is None or fcntl is None:
        yield False
        return
    path = objects.folder / LOCK
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise WriteError(f"{path} cannot be written: {error.strerror}. Expected a folder of yours.") from error
    try:
        locked = True
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise LeaseHeldError(_lock_refusal(objects)) from error
        except OSError:  # a file system without locks: the heartbeat has to do
            locked = False
        yield locked
    finally:
        os.close(handle)


def _lock_refusal(objects: Objects) -> str:
    found = _read(objects)
    if found is None:
        return f"{objects.label} is coordinated by another process of this machine. Stop that one first."
    return _refusal(objects, found, time.time())


def _myself(beat_s: float, limit_s: float, now: float) -> Holder:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container whose user has no name
        user = "somebody"
    return Holder(
        token=secrets.token_hex(16),
        who=f"{user}@{platform.node()}, process {os.getpid()}",
        machine=_machine(),
        pid=os.getpid(),
        since=datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%S"),
        beat=now,
        beat_s=beat_s,
        limit_s=limit_s,
    )


@cache
def _machine() -> str:
    """Return what tells apart machines and containers that have process numbers of their own."""
    parts = [platform.node()]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
    with suppress(OSError):
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return " ".join(parts)


def _read(objects: Objects) -> Holder | None:
    """Return the holder; None where there is none, or what is there is no lease."""
    data = objects.get(LEASE, limit=_BYTES)
    try:
        fields: dict[str, Any] = json.loads(data or b"")
        kinds = {"pid": int, "beat": float, "beat_s": float, "limit_s": float}
        found = Holder(**{name: kinds.get(name, str)(fields[name]) for name in Holder.__dataclass_fields__})
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None
    return found if 0 < found.beat_s <= _MOST_S and 0 < found.limit_s <= _MOST_S else None


def _write(objects: Objects, me: Holder, now: float) -> None:
    objects.put(LEASE, _json(me, beat=now))


def _json(me: Holder, **changes: float) -> bytes:
    return json.dumps({**asdict(me), **changes}).encode()
