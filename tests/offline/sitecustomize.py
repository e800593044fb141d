"""No network but this machine. On PYTHONPATH during tests, so that notebook kernels and every other
Python process that a test starts refuse too, not only pytest itself."""

import socket

LOCAL = ("localhost", "::1", "0.0.0.0", "::", "", None)
refused: list[str] = []


class NetworkRefused(OSError):
    """Something tried to reach a machine that is not this one."""


def _require_local(host) -> None:
    host = host.decode() if isinstance(host, bytes) else host
    if host in LOCAL or str(host).startswith(("127.", "::ffff:127.")) or host == socket.gethostname():
        return
    refused.append(str(host))
    raise NetworkRefused(f"a connection to {host} was refused: tests and lessons use no network")


def _guarded(method: str):
    original = getattr(socket.socket, method)

    def call(self, *arguments):
        if self.family in (socket.AF_INET, socket.AF_INET6):
            _require_local(arguments[-1][0])
        return original(self, *arguments)

    return call


def _resolve(host, *arguments, _original=socket.getaddrinfo, **options):
    _require_local(host)
    return _original(host, *arguments, **options)


for _method in ("connect", "connect_ex", "sendto"):
    setattr(socket.socket, _method, _guarded(_method))
socket.getaddrinfo = _resolve
