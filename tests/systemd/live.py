#!/usr/bin/env python3
"""Runs the unit files of examples/systemd under a real systemd, and stops and restarts the server.

`live.py SMOL`, the example built with the feature `systemd`. It starts itself again in namespaces of
its own: so systemd's user instance runs as on a machine that it has booted, port 8000 is free, the
server stands at the path that the unit file names, and all processes end with this one. It has to be
root.

The unit files are used as they are, but for a drop-in: a user instance has no DynamicUser, here is no
journal, the times are shorter, and a service may be started as often as one likes.
RESTARTS (10) makes it shorter.
"""

import contextlib
import fcntl
import http.client
import os
import pathlib
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

RESTARTS = int(os.environ.get("RESTARTS", 10))
PATIENCE = 30  # seconds for anything that should be done in a moment
SERVICE = "winddown.service"
SOCKET = "winddown.socket"
# Together: the service that is stopped alone is started again by the next connection.
UNITS = SOCKET, SERVICE
FOLDER = pathlib.Path(__file__).parents[2] / "examples" / "systemd"
RUN = pathlib.Path("/run/user/0")
OUTPUT = pathlib.Path("/run/output")
DROP_IN = """[Unit]
StartLimitIntervalSec=0
[Service]
DynamicUser=no
ExecStart=
ExecStart=/usr/local/bin/smol 127.0.0.1:8000 {deadline} {lame_duck}
TimeoutStopSec={timeout}
StandardOutput=append:{output}
StandardError=append:{output}
ExecStopPost=/bin/sh -c 'echo "ended: $SERVICE_RESULT $EXIT_CODE $EXIT_STATUS"'
"""


def main(program):
    if os.environ.get("XDG_RUNTIME_DIR") != str(RUN):
        command = ["unshare", "--mount", "--net", "--pid", "--fork", "--mount-proc", "--kill-child"]
        os.environ["XDG_RUNTIME_DIR"] = str(RUN)
        os.execvp("unshare", [*command, sys.executable, __file__, program])
    # By default the kernel drops it, because this is PID 1.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("live: told to stop"))
    with contextlib.ExitStack() as cleanup:
        boot(program, cleanup)
        print(call("systemd", "--version").splitlines()[0])
        restarts_lose_nothing()
        stop_answers_what_is_in_flight()
        stop_has_more_time_as_requests_end()
        late_requests_are_a_failure()
        second_signal_is_a_failure_and_systemd_starts_it_again()


def boot(program, cleanup):
    """Starts a user instance of systemd with the unit files."""
    call("mount", "--make-rprivate", "/")
    for folder in "/run", "/usr/local/bin":
        call("mount", "-t", "tmpfs", "tmpfs", folder)
    shutil.copy(program, "/usr/local/bin/smol")
    # By this folder a user instance sees that systemd has booted the machine.
    pathlib.Path("/run/systemd/system").mkdir(parents=True)
    RUN.mkdir(parents=True, mode=0o700)
    bring_loopback_up()
    units = RUN / "systemd" / "user"
    units.mkdir(parents=True)
    for unit in UNITS:
        shutil.copy(FOLDER / unit, units)
    command = ["/lib/systemd/systemd", "--user", "--log-target=console", "--log-level=warning"]
    process = subprocess.Popen(command)
    cleanup.callback(process.wait, PATIENCE)
    cleanup.callback(process.terminate)
    until("systemd has started", (RUN / "systemd" / "private").exists)


def bring_loopback_up():
    request = bytearray(struct.pack("16sh22x", b"lo", 0))
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, 0x8913, request)  # SIOCGIFFLAGS
        flags = struct.unpack_from("16sh", request)[1] | 1  # IFF_UP
        struct.pack_into("16sh", request, 0, b"lo", flags)
        fcntl.ioctl(any_socket, 0x8914, request)  # SIOCSIFFLAGS


def call(*command, check=True):
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=PATIENCE, check=check)
    return done.stdout.strip()


def ctl(*arguments, check=True):
    return call("systemctl", "--user", *arguments, check=check)


def shown(name):
    return ctl("show", "--value", "-p", name, SERVICE)


def until(what, happened):
    """Asks again and again, because no event tells."""
    begun = time.monotonic()
    while not (result := happened()):
        if time.monotonic() - begun > PATIENCE:
            raise TimeoutError(f"not in time: {what}")
        time.sleep(0.01)
    return result


def start(deadline="20s", lame_duck="0s", timeout=30):
    ctl("stop", *UNITS)
    ctl("reset-failed")
    folder = RUN / "systemd" / "user" / f"{SERVICE}.d"
    folder.mkdir(exist_ok=True)
    text = DROP_IN.format(deadline=deadline, lame_duck=lame_duck, timeout=timeout, output=OUTPUT)
    (folder / "test.conf").write_text(text)
    ctl("daemon-reload")
    ctl("start", SOCKET)
    # The first connection starts the service.
    assert get("/healthz") == b"ok\n"


def get(path, connection=None):
    connection = connection or http.client.HTTPConnection("127.0.0.1", 8000, timeout=PATIENCE)
    connection.request("GET", path)
    response = connection.getresponse()
    assert response.status == 200, response.status
    return response.read()


class Request(threading.Thread):
    """A request in flight."""

    def __init__(self, duration):
        super().__init__(daemon=True)
        self.duration, self.answer = duration, None
        self.start()

    def run(self):
        with contextlib.suppress(OSError, http.client.HTTPException):
            self.answer = get(f"/sleep?duration={self.duration}")


def begin(duration):
    """Returns a request that the server has."""
    line = "request: GET /sleep"
    before = OUTPUT.read_text().count(line)
    request = Request(duration)
    until("the request is in flight", lambda: OUTPUT.read_text().count(line) > before)
    return request


def ended():
    """Returns how the service ended, when it has, as systemd says it."""
    until("it has ended", lambda: shown("ActiveState") in ("inactive", "failed"))
    return last_end()


def last_end():
    ends = [line for line in OUTPUT.read_text().splitlines() if line.startswith("ended: ")]
    return ends[-1]


ANSWER = b"Welcome HTTP Server\n"


class Client(threading.Thread):
    """Asks until it is told to stop, on a new connection each time or on one that it keeps."""

    over = threading.Event()

    def __init__(self, keeps):
        super().__init__(daemon=True)
        self.keeps, self.answered, self.failures = keeps, 0, []
        self.start()

    def run(self):
        connection = None
        while not self.over.is_set():
            # It opens a new one by itself once an answer has said `connection: close`.
            if connection is None or not self.keeps:
                connection = http.client.HTTPConnection("127.0.0.1", 8000, timeout=PATIENCE)
            try:
                get("/sleep?duration=20ms", connection)
                self.answered += 1
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(repr(error))
                connection = None


def restarts_lose_nothing():
    start(lame_duck="0s")
    clients = [Client(keeps) for keeps in 8 * [False, True]]
    for _ in range(RESTARTS):
        answered = sum(client.answered for client in clients)
        ctl("restart", SERVICE)
        until("it serves", lambda: sum(client.answered for client in clients) > answered + 500)
    Client.over.set()
    for client in clients:
        client.join()
    answered = sum(client.answered for client in clients)
    failures = [failure for client in clients for failure in client.failures]
    print(f"{RESTARTS} restarts: {answered} requests answered, {len(failures)} failed")
    assert not failures, failures
    assert answered > 500 * RESTARTS


def stop_answers_what_is_in_flight():
    start(lame_duck="1s")
    request = begin("3s")
    ctl("stop", "--no-block", *UNITS)
    status = until("it says why it stops", lambda: shown("StatusText"))
    assert shown("SubState") == "stop-sigterm"
    print(f"a stop: the status is '{status}'")
    assert "SIGTERM" in status, status
    request.join()
    assert request.answer == ANSWER
    assert ended() == "ended: success exited 0"


def stop_has_more_time_as_requests_end():
    start(timeout=3)
    requests = [begin(duration) for duration in ("1500ms", "5s")]
    begun = time.monotonic()
    ctl("stop", "--no-block", *UNITS)
    for request in requests:
        request.join()
        assert request.answer == ANSWER
    assert ended() == "ended: success exited 0"
    print(f"a stop with TimeoutStopSec=3: took {time.monotonic() - begun:.1f} s, by EXTEND_TIMEOUT_USEC")
    assert time.monotonic() - begun > 4


def late_requests_are_a_failure():
    start(deadline="1s")
    request = begin("1h")
    ctl("stop", *UNITS)
    request.join()
    assert request.answer is None
    assert ended() == "ended: exit-code exited 1"
    print("a request of an hour: code 1 after the deadline, which is a failure")


def second_signal_is_a_failure_and_systemd_starts_it_again():
    # Without the second signal, systemd would kill it long before this deadline, which is another result.
    start(deadline="1h")
    request = begin("1h")
    first = shown("MainPID")
    ctl("kill", "--kill-who=main", SERVICE)
    # The kernel merges two signals of one number while the first is pending.
    until("it says why it stops", lambda: shown("StatusText"))
    ctl("kill", "--kill-who=main", SERVICE)
    request.join()
    assert request.answer is None
    until("systemd starts it again", lambda: shown("NRestarts") == "1")
    assert last_end() == "ended: exit-code exited 1"
    until("it serves", lambda: shown("ActiveState") == "active")
    assert get("/healthz") == b"ok\n"
    assert shown("MainPID") != first
    print("two signals: code 1 at once, and Restart=on-failure starts it again")


if __name__ == "__main__":
    main(*sys.argv[1:])
