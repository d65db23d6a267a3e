"""Makes the hosts, runs the nights on the base host, and removes everything, however it ends."""

import fcntl
import signal
import subprocess
import sys

from tests.scaleout import hosts

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main() -> int:
    """0 when all held; 1 with the reason in one line."""
    for name in SIGNALS:
        signal.signal(name, _interrupt)
    hosts.PLACE.parent.mkdir(parents=True, exist_ok=True)
    with hosts.PLACE.with_suffix(".lock").open("ab") as alone:
        try:
            fcntl.flock(alone, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return _fail("another one is running in this place")
        nights: subprocess.Popen[bytes] | None = None
        try:
            hosts.accounts()
            hosts.make()
            command = hosts.BASE.command(sys.executable, "-m", "tests.scaleout.nights")
            # a session of its own: Ctrl-C is for us, who then end it in order
            nights = subprocess.Popen(command, cwd=hosts.BASE.folder, start_new_session=True, env=hosts.environment())
            return nights.wait()
        except hosts.Refused as error:
            return _fail(str(error))
        except KeyboardInterrupt:
            return _fail("interrupted")
        finally:
            for name in SIGNALS:
                signal.signal(name, signal.SIG_IGN)
            _clean(nights)


def _clean(nights: "subprocess.Popen[bytes] | None") -> None:
    """Let the nights stop their servers in order, then remove the hosts with whatever is left on them."""
    if nights is not None and nights.poll() is None:
        nights.terminate()
        try:
            nights.wait(30)
        except subprocess.TimeoutExpired:
            nights.kill()
    if hosts.able():
        hosts.remove()


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _fail(message: str) -> int:
    print(f"make scaleout: {message}", file=sys.stderr)  # noqa: T201
    return 1


if __name__ == "__main__":
    sys.exit(main())
