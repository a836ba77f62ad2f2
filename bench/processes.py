"""Starts and stops the programs under measurement and reads what Linux tells of them.

Every wait is bounded, every program is stopped by the handle it was started with, and everything listens
on loopback on a port that was free.
"""

import json
import os
import re
import queue
import shutil
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

READY_SECONDS = 30
STOP_SECONDS = 5
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


class BenchError(Exception):
    """The benchmark cannot go on; the message is one sentence for the person who ran it."""


class Server:
    """A running program that answers at `address`."""

    def __init__(self, name, command, env=None, cwd=None):
        self.name = name
        self.address = None
        self.output = []
        self._lines = queue.Queue()
        self.process = subprocess.Popen(
            command, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        threading.Thread(target=self._collect, daemon=True).start()

    def _collect(self):
        for line in self.process.stdout:
            text = line.decode(errors="replace").rstrip()
            self.output = (self.output + [text])[-200:]
            self._lines.put(text)
        self._lines.put(None)

    def wait_line(self, read):
        """The first non-None `read(line)`; raises when the program ends or says nothing in time."""
        deadline = time.monotonic() + READY_SECONDS
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise BenchError(f"{self.name} was not ready within {READY_SECONDS} s; {self.tail()}") from None
            if line is None:
                self.process.wait(timeout=STOP_SECONDS)
                code = self.process.returncode
                raise BenchError(f"{self.name} ended (status {code}) before it could serve; {self.tail()}")
            found = read(line)
            if found is not None:
                return found

    def wait_accepting(self):
        """Waits until `address` accepts a connection."""
        host, port = self.address.rsplit(":", 1)
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise BenchError(f"{self.name} ended (status {self.process.returncode}); {self.tail()}")
            try:
                socket.create_connection((host, int(port)), timeout=1).close()
                return
            except OSError:
                time.sleep(0.05)
        raise BenchError(f"{self.name} does not accept connections; {self.tail()}")

    def tail(self):
        return "it said:\n" + "\n".join(self.output[-20:])

    def pids(self):
        """The program and its children, as nginx's workers."""
        pid = self.process.pid
        try:
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        except OSError:
            children = []
        return [pid, *map(int, children)]

    def resident_bytes(self):
        return sum(_status_kb(pid, "VmRSS:") for pid in self.pids()) * 1024

    def cpu_seconds(self):
        return sum(_cpu_seconds(pid) for pid in self.pids())

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout=STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(timeout=STOP_SECONDS)


def start_upstream(bin_dir, threads):
    server = Server("bench-upstream", [str(bin_dir / "bench-upstream"), "--threads", str(threads)])
    facts = server.wait_line(lambda line: _json(line))
    server.address = facts["addr"]
    return server, facts


def start_nginx(template, folder, upstream):
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if program is None:
        raise BenchError("nginx is not installed: apt-get install nginx")
    folder.mkdir()
    address = f"127.0.0.1:{_free_port()}"
    config = folder / "nginx.conf"
    config.write_text(_filled(template, UPSTREAM=upstream, LISTEN=address))
    server = Server("nginx", [program, "-p", str(folder), "-e", "stderr", "-c", str(config)])
    server.address = address
    server.wait_accepting()
    return server


def start_tidegate(name, program, template, folder, upstream, onnx_runtime=None, extra=""):
    """The gateway with everything that is on by default but for what `extra` says, in a data folder of its own; it classifies with
    `onnx_runtime`."""
    if not program.is_file():
        raise BenchError(f"{program} is not built")
    home = folder / "home"
    home.mkdir(parents=True)
    config = folder / "tidegate.yaml"
    config.write_text(_filled(template, UPSTREAM=upstream) + "\n" + extra + "\n")
    env = {name: value for name, value in os.environ.items() if not name.startswith("TIDEGATE_")}
    env["TIDEGATE_HOME"] = str(home)
    env.pop("ORT_DYLIB_PATH", None)
    if onnx_runtime is not None:
        env["ORT_DYLIB_PATH"] = str(onnx_runtime)
    server = Server(name, [str(program), "up", "--config", str(config)], env=env)

    def address(line):
        # From the announcement on standard output: the log is at level warn.
        found = re.search(r"OpenAI endpoint\s+http://(\S+)/v1", line)
        return found[1] if found else None

    try:
        server.address = server.wait_line(address)
    except BenchError:
        server.stop()
        raise
    return server


def nginx_version():
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    return first_line([program, "-v"]) if program else "not installed"


def first_line(command):
    """The first line a program prints, or why there is none."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"unknown ({error})"
    return (done.stdout + done.stderr).strip().split("\n")[0]


def _filled(template, **values):
    # Comments may name @...@ as such; only the known names are filled in.
    text = template.read_text()
    for name, value in values.items():
        text = text.replace(f"@{name}@", value)
    return text


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _json(line):
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _status_kb(pid, key):
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(key):
                return int(line.split()[1])
    except OSError:
        pass
    return 0


def _cpu_seconds(pid):
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND
