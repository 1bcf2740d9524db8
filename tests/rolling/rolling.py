#!/usr/bin/env python3
"""Restarts two servers in turn behind HAProxy, under load, and counts the requests that fail.

`rolling.py EXAMPLES`, the folder with the built examples. Every server is run with a lame duck, where
one failed request is too many, and without, to show that failures would be counted; behind a load
balancer for requests (http), and behind one for connections (tcp).

ROLLING_SECONDS (30), ROLLING_RESTARTS (5, of each instance) and ROLLING_SERVERS make it shorter.
"""

import collections
import contextlib
import csv
import http.client
import itertools
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

SECONDS = float(os.environ.get("ROLLING_SECONDS", 30))
RESTARTS = int(os.environ.get("ROLLING_RESTARTS", 5))
SERVERS = os.environ.get("ROLLING_SERVERS", "smol async_std tokio axum").split()
LAME_DUCK = "2s"
DEADLINE = "10s"
PATIENCE = 30  # seconds for anything that should be done in a moment
# What the clients ask for in turn, and the answer that counts as one.
SHORT = [("/sleep?duration=20ms", b"Welcome HTTP Server\n"), ("/healthz", b"ok\n")]
# Longer than the lame duck, so in flight when the server stops accepting.
LONG = [("/sleep?duration=2500ms", b"Welcome HTTP Server\n")]
CLIENTS = 14 * [SHORT] + 2 * [LONG]


def until(what, happened):
    """Asks again and again, because no event tells."""
    begun = time.monotonic()
    while not (result := happened()):
        if time.monotonic() - begun > PATIENCE:
            raise TimeoutError(f"not in time: {what}")
        time.sleep(0.005)
    return result


class Instance:
    """An example server on a port of its own."""

    def __init__(self, program, lame_duck, log):
        self.log = log
        with open(log, "wb") as out:
            self.process = subprocess.Popen(
                [program, "127.0.0.1:0", DEADLINE, lame_duck], stdout=out, stderr=out
            )
        try:
            self.port = until(f"{program} listens", self.listens)
        except BaseException:
            self.kill()
            raise

    def listens(self):
        start, found, rest = self.log.read_text().partition("ready: listening on http://")
        return int(rest.split("\n")[0].rsplit(":")[-1]) if found and "\n" in rest else None

    def was_checked(self):
        return "request: GET /readyz" in self.log.read_text()

    def stop(self):
        self.process.terminate()
        code = self.process.wait(PATIENCE)
        if code != 0:
            raise RuntimeError(f"exit code {code}; see its output:\n{self.log.read_text()[-2000:]}")

    def kill(self):
        self.process.kill()
        self.process.wait()


class Load:
    """Keep-alive clients, each with one connection and one request at a time."""

    def __init__(self, port):
        self.port = port
        self.over = threading.Event()
        self.lock = threading.Lock()
        self.answered = 0
        self.failures = collections.Counter()
        self.threads = [threading.Thread(target=self.client, args=[each]) for each in CLIENTS]
        for thread in self.threads:
            thread.start()

    def client(self, requests):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        for path, expected in itertools.cycle(requests):
            if self.over.is_set():
                break
            failure = self.ask(connection, path, expected)
            with self.lock:
                if failure is None:
                    self.answered += 1
                else:
                    self.failures[failure] += 1
            if failure is not None:
                connection.close()  # the next request opens a new one
        connection.close()

    @staticmethod
    def ask(connection, path, expected):
        """One request: `None`, or why it failed."""
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException) as error:
            return type(error).__name__
        if response.status != 200:
            return str(response.status)
        return None if body == expected else "wrong body"

    def end(self):
        self.over.set()
        for thread in self.threads:
            thread.join()


class Run:
    """One server program, behind one kind of load balancer, with a lame duck or without."""

    def __init__(self, program, mode, lame_duck, folder, cleanup):
        self.program, self.lame_duck, self.folder = program, lame_duck, folder
        self.restarts = {"a": 0, "b": 0}
        self.instances = {}
        cleanup.callback(lambda: [instance.kill() for instance in self.instances.values()])
        for name in self.restarts:
            self.start(name)

        listener = cleanup.enter_context(socket.create_server(("127.0.0.1", 0), backlog=128))
        self.admin = folder / "admin"
        environment = {name.upper(): f"127.0.0.1:{i.port}" for name, i in self.instances.items()}
        environment |= {"LISTENER": str(listener.fileno()), "ADMIN": str(self.admin), "MODE": mode}
        config = pathlib.Path(__file__).with_name("haproxy.cfg")
        haproxy = subprocess.Popen(
            [shutil.which("haproxy", path=os.environ["PATH"] + ":/usr/sbin"), "-db", "-f", config],
            env=os.environ | environment,
            pass_fds=[listener.fileno()],
            stderr=open(folder / "haproxy.log", "wb"),
        )
        cleanup.callback(haproxy.wait)
        cleanup.callback(haproxy.kill)
        until("HAProxy runs", self.admin.exists)
        for name in self.instances:
            self.wait_until_up(name)

        load = Load(listener.getsockname()[1])
        try:
            begun = time.monotonic()
            turns = 0
            while turns < 2 * RESTARTS or time.monotonic() - begun < SECONDS:
                # Spread over the time; if they take longer, so does the run.
                next_turn = begun + turns * SECONDS / (2 * RESTARTS)
                time.sleep(max(0, next_turn - time.monotonic()))
                self.restart("ab"[turns % 2])
                turns += 1
            self.seconds = time.monotonic() - begun
        finally:
            load.end()
        self.answered, self.failures = load.answered, load.failures
        self.served = {name: int(self.stat(name)["stot"]) for name in self.instances}

    def start(self, name):
        log = self.folder / f"{name}.log"
        self.instances[name] = Instance(self.program, self.lame_duck, log)

    def restart(self, name):
        self.instances[name].stop()
        self.start(name)
        port = self.instances[name].port
        self.tell(f"set server servers/{name} addr 127.0.0.1 port {port}")
        self.wait_until_up(name)
        self.restarts[name] += 1

    def wait_until_up(self, name):
        until(f"{name} is UP", lambda: self.instances[name].was_checked() and self.is_up(name))

    def is_up(self, name):
        stat = self.stat(name)
        return stat["status"] == "UP" and stat["check_status"] == "L7OK"

    def stat(self, name):
        rows = csv.DictReader(self.tell("show stat").lstrip("# ").splitlines())
        return next(row for row in rows if row["svname"] == name)

    def tell(self, command):
        with socket.socket(socket.AF_UNIX) as admin:
            admin.settimeout(PATIENCE)
            admin.connect(str(self.admin))
            admin.sendall(f"{command}\n".encode())
            return b"".join(iter(lambda: admin.recv(65536), b"")).decode()


def main():
    # By default it would leave the servers behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("rolling: told to stop"))
    examples = pathlib.Path(sys.argv[1])
    row = "{:<10} {:<8} {:>9} {:>7} {:>8} {:>8} {:>6}  {}".format
    head = ["server", "balancer", "lame duck", "seconds", "restarts", "answered", "failed", ""]
    print(row(*head), flush=True)
    wrong = []
    for server, mode, lame_duck in itertools.product(SERVERS, ["http", "tcp"], [LAME_DUCK, "0s"]):
        with contextlib.ExitStack() as cleanup:
            folder = pathlib.Path(cleanup.enter_context(tempfile.TemporaryDirectory()))
            run = Run(examples / server, mode, lame_duck, folder, cleanup)
        failed = run.failures.total()
        kinds = ", ".join(f"{count} {kind}" for kind, count in run.failures.most_common())
        restarts = " + ".join(str(count) for count in run.restarts.values())
        cells = [f"{run.seconds:.0f}", restarts, run.answered, failed, kinds]
        print(row(server, mode, lame_duck, *cells), flush=True)
        if lame_duck != "0s" and failed:
            wrong.append(f"{server}, {mode}: {failed} requests failed in spite of a lame duck")
        if lame_duck == "0s" and not failed:
            wrong.append(f"{server}, {mode}: none failed without a lame duck either; that shows nothing")
        if not (min(run.served.values()) and min(run.restarts.values()) >= RESTARTS):
            wrong.append(f"{server}, {mode}: nothing was shown: {run.served}, {run.restarts}")
    if not SERVERS:
        wrong.append("no servers")
    for message in wrong:
        print(f"rolling: {message}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
