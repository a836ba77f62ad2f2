#!/usr/bin/env python3
"""One command: the scripted upstream directly, through nginx and through Tidegate, side by side.

See bench/README.md for what is measured and why. Standard library only; everything stays on loopback.
"""

import argparse
import datetime
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).parent))

import report  # noqa: E402
from processes import (  # noqa: E402
    BenchError, first_line, nginx_version, start_nginx, start_tidegate, start_upstream,
)

BENCH = Path(__file__).resolve().parent
ROOT = BENCH.parent
BODIES = {"document": BENCH / "request.json", "stream": BENCH / "request-stream.json"}
TARGETS = ("direct", "nginx", "tidegate", "classified", "unrecorded")
# Measured only where they are asked for.
OPTIONAL = ("traced",)
WARMUP_SECONDS = 0.5
BUILD_SECONDS = 3600
IDLE_SECONDS = 2


def main():
    options = parse()
    try:
        return run(options)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1


def parse():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--targets", default=",".join(TARGETS), help="which to measure (default: all; also: traced)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="measured time of each leg of a round")
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--document-rate", type=float, default=1000.0, help="requests/s of the paced legs")
    parser.add_argument("--stream-rate", type=float, default=200.0, help="streams/s of the paced legs")
    parser.add_argument("--upstream-threads", type=int, default=1)
    parser.add_argument("--bin-dir", type=Path, help="where the built programs lie (no build then)")
    parser.add_argument("--before", type=Path, help="another build of tidegate, measured beside this one as `before`")
    parser.add_argument("--results", type=Path, default=BENCH / "results")
    parser.add_argument("--name", help="name of the result files, instead of the date and the cores")
    return parser.parse_args()


def run(options):
    targets = options.targets.split(",")
    unknown = set(targets) - set(TARGETS) - set(OPTIONAL)
    if unknown:
        raise BenchError(f"unknown target {', '.join(sorted(unknown))}")
    runtime = onnx_runtime()
    if "classified" in targets and runtime is None:
        print("bench: not measured: classified, as no ONNX Runtime is installed (make artifacts)", file=sys.stderr)
        targets.remove("classified")
    if options.before:
        targets.append("before")
    bin_dir = options.bin_dir or build(bool({"tidegate", "classified", "unrecorded", *OPTIONAL} & set(targets)))
    servers, memory = {}, {}
    with tempfile.TemporaryDirectory(prefix="tidegate-bench-") as folder:
        try:
            upstream, facts = start_upstream(bin_dir, options.upstream_threads)
            servers["direct"] = upstream
            gateways = {
                "tidegate": (bin_dir / "tidegate", None, ""),
                "classified": (bin_dir / "tidegate", runtime, ""),
                "unrecorded": (bin_dir / "tidegate", None, "ledger: {enabled: false}"),
                # The upstream is the collector as well: it takes whatever is posted.
                "traced": (bin_dir / "tidegate", None, f"traces: {{enabled: true, endpoint: 'http://{upstream.address}'}}"),
                "before": (options.before, None, ""),
            }
            if "nginx" in targets:
                servers["nginx"] = start_nginx(BENCH / "nginx.conf.in", Path(folder) / "nginx", upstream.address)
            for name, (program, library, extra) in gateways.items():
                if name in targets:
                    servers[name] = start_tidegate(
                        name, program, BENCH / "tidegate.yaml.in", Path(folder) / name, upstream.address, library, extra
                    )
            time.sleep(IDLE_SECONDS)
            for name, server in servers.items():
                memory[name] = {"idle_bytes": server.resident_bytes()}
            legs = measure(options, bin_dir, {name: servers[name] for name in targets}, upstream, facts)
            for name, server in servers.items():
                memory[name]["after_load_bytes"] = server.resident_bytes()
            cross_check = run_wrk(options, {name: servers[name] for name in targets})
        finally:
            for server in reversed(list(servers.values())):
                server.stop()
    result = {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "command": "bench/run.py " + " ".join(sys.argv[1:]),
        "machine": machine(),
        "options": {
            "rounds": options.rounds, "seconds": options.seconds, "warmup_seconds": WARMUP_SECONDS,
            "connections": options.connections, "document_rate": options.document_rate,
            "stream_rate": options.stream_rate, "upstream_threads": options.upstream_threads,
        },
        "answer": {key: facts[key] for key in ("document_bytes", "frames", "content_bytes")},
        "memory": memory,
        "legs": legs,
        "wrk": cross_check,
    }
    result["summary"] = report.summarise(legs)
    result["checks"] = report.check(result)
    text = report.markdown(result)
    options.results.mkdir(parents=True, exist_ok=True)
    stem = options.name or f"{result['date'][:10]}-{os.cpu_count()}core"
    (options.results / f"{stem}.json").write_text(json.dumps(result, indent=1) + "\n")
    (options.results / f"{stem}.md").write_text(text)
    print(text)
    return 0 if all(check["ok"] for check in result["checks"]) else 1


def build(with_tidegate):
    commands = ["cargo build --release --locked -p testkit --bin bench-upstream --bin bench-load"]
    if with_tidegate:
        commands.append("make build")
    for command in commands:
        done = subprocess.run(command.split(), cwd=ROOT, timeout=BUILD_SECONDS, check=False)
        if done.returncode != 0:
            raise BenchError(f"{command} failed")
    return Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"


def onnx_runtime():
    """The library that `tidegate` would use on this machine, as far as it can be found without asking it."""
    named = os.environ.get("ORT_DYLIB_PATH")
    data = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share") / "tidegate"
    home = Path(os.environ.get("TIDEGATE_HOME") or data)
    return named or next(iter(sorted(home.glob("artifacts/onnxruntime/*/libonnxruntime.so*"), reverse=True)), None)


def measure(options, bin_dir, servers, upstream, facts):
    """All legs, interleaved: what slows the machine for a while slows every target alike."""
    legs = []
    rates = {"document": options.document_rate, "stream": options.stream_rate}
    for number in range(options.rounds):
        for load in ("full", "paced"):
            for mode in ("document", "stream"):
                for name, server in servers.items():
                    rate = rates[mode] if load == "paced" else None
                    leg = one_leg(options, bin_dir, mode, rate, server, upstream, facts)
                    legs.append({"round": number, "target": name, "mode": mode, "load": load, **leg})
                    print(
                        f"round {number + 1}/{options.rounds} {load:5} {mode:8} {name:10} "
                        f"{leg['requests_per_s']:9.0f}/s p99 {leg['total_us']['p99']:8.0f} us",
                        file=sys.stderr,
                    )
    return legs


def one_leg(options, bin_dir, mode, rate, server, upstream, facts):
    command = [
        str(bin_dir / "bench-load"), "--url", f"http://{server.address}/v1/chat/completions",
        "--body-file", str(BODIES[mode]), "--connections", str(options.connections),
        "--duration", str(options.seconds), "--warmup", str(WARMUP_SECONDS),
    ]
    if mode == "stream":
        command += ["--stream", "--expect-frames", str(facts["frames"])]
    if rate is not None:
        command += ["--rate", str(rate)]
    cpu = {"target": server.cpu_seconds(), "upstream": upstream.cpu_seconds(), "load": os.times().children_user}
    cpu["load"] += os.times().children_system
    try:
        # Twenty seconds more than the run: the generator itself gives up on an answer after ten.
        done = subprocess.run(command, capture_output=True, text=True, timeout=options.seconds + 20, check=False)
    except subprocess.TimeoutExpired:
        raise BenchError(f"the load generator did not end on {server.name}") from None
    if done.returncode != 0:
        raise BenchError(f"{server.name} gives no complete answer: {done.stderr.strip()}")
    leg = json.loads(done.stdout)
    if leg["answer"]["content_bytes"] != facts["content_bytes"]:
        raise BenchError(f"{server.name} changed the answer: {leg['answer']}")
    if leg["requests"] == 0:
        raise BenchError(f"{server.name} gave no complete answer in time: {leg['first_error']}")
    after = os.times()
    spent = {
        "target": server.cpu_seconds() - cpu["target"],
        "upstream": upstream.cpu_seconds() - cpu["upstream"],
        "load": after.children_user + after.children_system - cpu["load"],
    }
    # The warm-up counts as processor time, so its requests are counted too, at the measured rate.
    requests = leg["requests_per_s"] * (options.seconds + WARMUP_SECONDS)
    leg["cpu_us_per_request"] = {name: seconds * 1e6 / requests for name, seconds in spent.items()}
    return leg


def run_wrk(options, servers):
    """What wrk says of the document case: a check of the generator, not of the targets."""
    program = shutil.which("wrk")
    if program is None:
        return None
    found = {}
    for name, server in servers.items():
        command = [
            program, "-t1", f"-c{options.connections}", f"-d{max(1, round(options.seconds))}s", "--latency",
            "-s", str(BENCH / "wrk-post.lua"), f"http://{server.address}/v1/chat/completions",
        ]
        env = {**os.environ, "BENCH_BODY_FILE": str(BODIES["document"])}
        done = subprocess.run(
            command, capture_output=True, text=True, env=env, timeout=options.seconds + 20, check=False
        )
        rate = re.search(r"Requests/sec:\s*([\d.]+)", done.stdout)
        p99 = re.search(r"99%\s+([\d.]+)(us|ms|s)", done.stdout)
        found[name] = {
            "requests_per_s": float(rate[1]) if rate else None,
            "p99_us": float(p99[1]) * {"us": 1, "ms": 1e3, "s": 1e6}[p99[2]] if p99 else None,
            "has_errors": "Non-2xx" in done.stdout or "Socket errors" in done.stdout,
        }
    return found


def machine():
    cpu = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
    memory = re.search(r"MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text())
    return {
        "cpu": cpu[1] if cpu else platform.machine(),
        "cores": os.cpu_count(),
        "memory_mb": int(memory[1]) // 1024 if memory else None,
        "kernel": platform.release(),
        "rustc": first_line(["rustc", "--version"]),
        "nginx": nginx_version(),
        "load_average_at_end": os.getloadavg()[0],
    }


if __name__ == "__main__":
    sys.exit(main())
