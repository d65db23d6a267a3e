"""`make run`: the servers, the database, the demo data, then every process of the Procfile until one of them ends."""

import os
import shlex
import signal
import socket
import subprocess
import sys
from pathlib import Path

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from honcho import manager
from honcho.environ import parse_procfile

from iss_billing import embedded
from iss_billing.servers import hold

manager.KILL_WAIT = 20  # a worker may finish the shard it has in hand


class Processes(manager.Manager):  # type: ignore[misc]  # honcho has no types
    """Honcho's manager, which also knows who ended first."""

    first: str | None = None

    def terminate(self) -> None:
        """Stop all, because one has ended or a signal came."""
        if not self._terminating:
            self.first = next((name for name, process in self._processes.items() if "returncode" in process), None)
        super().terminate()


def main() -> int:
    """Set up and serve; 0 after Ctrl-C, 1 when something failed, said in the last line."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "iss_billing.settings")
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGHUP, _interrupt)  # the terminal was closed
    try:
        _refuse_taken_port(settings.PORT)
        hold()
        for command in (["migrate", "--verbosity", "0"], ["load_catalogue"], ["demo"]):
            print(f"· {command[0]}", flush=True)  # noqa: T201 - this is a terminal program
            subprocess.run([sys.executable, "manage.py", *command], check=True)  # noqa: S603 - our own commands
        return _serve()
    except subprocess.CalledProcessError as error:
        return _fail(f"`manage.py {error.cmd[2]}` failed: see above")
    except (ImproperlyConfigured, embedded.ServerError, OSError) as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        return 0


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _refuse_taken_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise OSError(f"port {port} cannot be used ({error.strerror}): PORT={port + 1} make run") from error


def _serve() -> int:
    scripts = Path(sys.executable).parent
    env = os.environ | {"PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}", "PYTHONUNBUFFERED": "1"}
    env |= {"PORT": str(settings.PORT)}
    processes = Processes()
    for name, command in parse_procfile(Path("Procfile").read_text()).processes.items():
        processes.add_process(name, command, env=env)
    if settings.EMBEDDED_POSTGRES or settings.EMBEDDED_REDIS:
        for server in embedded.server_pids(settings.VAR):
            watch = [sys.executable, "-m", "iss_billing.keeper", "watch", str(settings.VAR), server]
            processes.add_process(server, "exec " + shlex.join(watch), env=env)
    print(f"\nISS Billing is at http://localhost:{settings.PORT}/  (Ctrl-C stops everything)\n", flush=True)  # noqa: T201
    processes.loop()
    # honcho has taken the signals over; from here on they may end us again
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if processes.first is not None:
        return _fail(f"{processes.first} ended, so everything was stopped; its last words are above")
    return 0


def _fail(message: str) -> int:
    print(f"make run: {message}", file=sys.stderr)  # noqa: T201
    return 1


if __name__ == "__main__":
    sys.exit(main())
