#!/usr/bin/env python3
"""Makes the pictures of dashboards/img: a real gateway with the real engine, two clouds and a collector of traces that are scripted here, a real Prometheus,
and callers for some minutes with failures, an outage (also of the collector) and a worker that is killed.

usage: run.py TIDEGATE [SECONDS]

TIDEGATE is the built binary; SECONDS (300) is how long it lasts. Needs `tidegate artifacts install` once and scripts/prometheus.sh. Ports are chosen by the system.
"""
import http.client
import http.server
import json
import os
import pathlib
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

FOLDER = pathlib.Path(__file__).parent
ROOT = FOLDER.parent
CALLERS = 5
# Parts of the run, as shares of it: what is wrong meanwhile.
PARTS = [(0.0, "calm"), (0.25, "failing"), (0.45, "outage"), (0.6, "calm"), (0.75, "crash"), (0.77, "calm")]
PROMPTS = ["What is the tide?", "Why is the sea salt? Two sentences.", "Name three winds of the sea.", "Tell me a short story of a lighthouse and its keeper.",
           "Summarise: the moon pulls at the water, the water follows, and the harbour falls dry twice a day.", "Write one line about rain."]
POLICY = """version: 1
reference: cloud/a
placement:
  - id: personal-data-stays
    when: signals.personal_data > 0 || signals.secrets > 0
    allow: {localities: [device]}
routes:
  - {id: hedged, when: '"urgent" in request.tags', objective: in_order, candidates: ['cloud/*'], limits: {hedge_after_ms: 400}}
  - {id: again, when: '"again" in request.tags', objective: in_order, candidates: ['cloud/*', 'local/*'], cache: {ttl_s: 20}}
  - {id: later, when: '"later" in request.tags', objective: in_order, candidates: ['cloud/*']}
  - {id: bought, when: '"quality" in request.tags', objective: in_order, candidates: ['cloud/*', 'local/*']}
  - {id: here, objective: in_order, candidates: ['local/*', 'cloud/*']}
"""
SHADOW = """version: 1
routes:
  - {id: long, when: request.prompt_tokens > 14, objective: in_order, candidates: ['cloud/*', 'local/*']}
  - {id: here, objective: in_order, candidates: ['local/*', 'cloud/*']}
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server(http.server.ThreadingHTTPServer):
    # A caller that leaves is part of the run.
    handle_error = lambda *_: None
    daemon_threads = True


class Service:
    """A server on a port of its own that can be away for a while."""

    def __init__(self):
        self.port, self.server = free_port(), None

    def open(self):
        self.server = Server(("127.0.0.1", self.port), self.handler())
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def whole(self, status, body, **headers):
        self.send_response(status)
        for name, value in ({"content-type": "application/json", "content-length": str(len(body))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


class Collector(Service):
    """Takes every trace."""

    def handler(self):
        class Traces(Handler):
            def do_POST(self):
                self.rfile.read(int(self.headers["content-length"]))
                # Closed, so that none is taken over a connection that is older than an outage.
                self.whole(200, b"", **{"content-type": "application/x-protobuf", "connection": "close"})

        return Traces


class Cloud(Service):
    """A model in the cloud: answers in the form of OpenAI, fails by `failing`, is slow to begin by `slow`."""

    def __init__(self, tokens_per_s, first_s):
        super().__init__()
        self.tokens_per_s, self.first_s, self.failing, self.slow = tokens_per_s, first_s, 0.0, 0.0
        self.random = random.Random(self.port)

    def handler(self):
        cloud = self

        class Answers(Handler):
            def do_HEAD(self):
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def do_POST(self):
                asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
                if cloud.random.random() < cloud.failing:
                    return self.whole(502, json.dumps({"error": {"message": "overloaded", "type": "server_error"}}).encode())
                time.sleep(cloud.first_s * (0.6 + cloud.random.random()) + (1.2 if cloud.random.random() < cloud.slow else 0))
                words = cloud.random.choices("the tide turns at seven and the boats come home with it".split(), k=cloud.random.randint(12, 60))
                prompt = len(json.dumps(asked["messages"])) // 4
                usage = {"prompt_tokens": prompt, "completion_tokens": len(words), "total_tokens": prompt + len(words)}
                base = {"id": "c", "created": 1, "model": asked["model"]}
                if not asked.get("stream"):
                    time.sleep(len(words) / cloud.tokens_per_s)
                    message = {"role": "assistant", "content": " ".join(words)}
                    body = base | {"object": "chat.completion", "usage": usage, "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
                    return self.whole(200, json.dumps(body).encode())
                self.send_response(200)
                self.send_header("content-type", "text/event-stream")
                self.send_header("connection", "close")
                self.end_headers()
                chunk = base | {"object": "chat.completion.chunk"}
                for word in words:
                    self.event(chunk | {"choices": [{"index": 0, "delta": {"content": word + " "}, "finish_reason": None}]})
                    time.sleep(1 / cloud.tokens_per_s)
                self.event(chunk | {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
                self.event(chunk | {"choices": [], "usage": usage})
                self.wfile.write(b"data: [DONE]\n\n")
                self.close_connection = True

            def event(self, data):
                self.wfile.write(b"data: " + json.dumps(data).encode() + b"\n\n")
                self.wfile.flush()

        return Answers


def caller(number, address, is_over):
    """Asks again and again, with pauses; now and then it leaves early, says something personal, or nothing valid."""
    chance = random.Random(number)
    while not is_over.is_set():
        text = chance.choice(PROMPTS)
        if chance.random() < 0.12:
            text += " Answer to anna.keller@example.org or +49 30 901820."
        body = {"model": "auto", "stream": chance.random() < 0.8, "max_tokens": chance.randint(12, 48), "messages": [{"role": "user", "content": text}]}
        if chance.random() < 0.02:
            del body["messages"]
        headers = {"content-type": "application/json"}
        tag, kind = chance.random(), chance.random()
        if tag < 0.45:
            headers["x-tidegate-tags"] = "urgent" if tag < 0.2 else "quality"
        elif tag < 0.53:
            headers |= {"x-tidegate-tags": "later", "prefer": "respond-async"}
        if kind < 0.2:
            headers["x-tidegate-privacy"] = "confidential" if kind < 0.1 else "internal"
        try:
            connection = http.client.HTTPConnection(*address, timeout=60)
            connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
            response = connection.getresponse()
            if chance.random() < 0.06:
                response.read(200)
            else:
                response.read()
            connection.close()
        except (OSError, http.client.HTTPException):
            pass
        is_over.wait(chance.uniform(0.2, 1.6))


def chorus(address, is_over):
    """Asks a question that has been asked before, several at once every few seconds; each has the same answer."""
    chance = random.Random(0)
    while not is_over.wait(chance.uniform(1.5, 3.5)):
        body = {"model": "auto", "stream": True, "temperature": 0, "max_tokens": 40, "messages": [{"role": "user", "content": f"Table {chance.randint(1, 8)} of the harbour, please."}]}

        def ask():
            try:
                connection = http.client.HTTPConnection(*address, timeout=60)
                connection.request("POST", "/v1/chat/completions", json.dumps(body), {"content-type": "application/json", "x-tidegate-tags": "again"})
                connection.getresponse().read()
                connection.close()
            except (OSError, http.client.HTTPException):
                pass

        voices = [threading.Thread(target=ask) for _ in range(3)]
        for thread in voices:
            thread.start()
        for thread in voices:
            thread.join()


def until(what, ready, seconds=60):
    end = time.time() + seconds
    while time.time() < end:
        try:
            if ready():
                return
        except OSError:
            pass
        time.sleep(0.1)
    sys.exit(f"{what} is not ready within {seconds} s")


def children(pid):
    return [int(child) for task in pathlib.Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()]


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    tidegate, seconds = sys.argv[1], int(sys.argv[2]) if len(sys.argv) == 3 else 300
    prometheus = subprocess.run([ROOT / "scripts/prometheus.sh"], check=True, capture_output=True, text=True).stdout.strip()
    paths = {name: subprocess.run([tidegate, "artifacts", "install", name], check=True, capture_output=True, text=True).stdout.split(": ", 1)[1].rsplit(" (", 1)[0]
             for name in ["llama-server", "smollm2-135m-instruct", "onnxruntime"]}
    clouds = {"a": Cloud(70, 0.25), "b": Cloud(40, 0.4)}
    away = [*clouds.values(), Collector()]
    ports = {"data": free_port(), "admin": free_port(), "prometheus": free_port()}
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        (folder / "policy.yaml").write_text(POLICY)
        (folder / "shadow.yaml").write_text(SHADOW)
        targets = "".join(f"  - {{id: cloud/{name}, provider: openai, model: {name}, base_url: 'http://127.0.0.1:{cloud.port}/v1', price: {{input_usd_per_mtok: {price}, output_usd_per_mtok: {4 * price}}}}}\n"
                          for (name, cloud), price in zip(clouds.items(), [2.5, 0.6]))
        (folder / "tidegate.yaml").write_text(f"""listen: 127.0.0.1:{ports["data"]}
admin_listen: 127.0.0.1:{ports["admin"]}
artifacts: {{fetch: false}}
defaults: {{privacy: public}}
hedging: {{max_share: 0.5, max_usd_per_hour: 10}}
policy: {{file: policy.yaml, shadow: shadow.yaml}}
engine: {{path: '{paths["llama-server"]}'}}
onnxruntime: {{path: '{paths["onnxruntime"]}'}}
network: {{probe: {{idle_ms: 5000}}}}
cache: {{persist: true}}
traces: {{enabled: true, endpoint: 'http://127.0.0.1:{away[-1].port}'}}
targets:
  - {{id: local/smollm2, provider: llama_cpp, model_path: '{paths["smollm2-135m-instruct"]}', context_tokens: 2048, slots: 2}}
{targets}""")
        (folder / "prometheus.yml").write_text(f"""global: {{scrape_interval: 1s, evaluation_interval: 5s}}
rule_files: ['{FOLDER.resolve()}/recording.yml', '{FOLDER.resolve()}/alerts.yml']
scrape_configs: [{{job_name: tidegate, static_configs: [{{targets: ['127.0.0.1:{ports["admin"]}']}}]}}]
""")
        for service in away:
            service.open()
        gateway = subprocess.Popen([tidegate, "up", "--config", folder / "tidegate.yaml"], env=os.environ | {"TIDEGATE_HOME": str(folder / "home")},
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        scraping = subprocess.Popen([f"{prometheus}/prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
                                     f"--web.listen-address=127.0.0.1:{ports['prometheus']}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            url = f"http://127.0.0.1:{ports['prometheus']}"
            until("the gateway", lambda: urllib.request.urlopen(f"http://127.0.0.1:{ports['admin']}/healthz").status == 200)
            until("Prometheus", lambda: urllib.request.urlopen(f"{url}/-/ready").status == 200)
            is_over, began = threading.Event(), time.time()
            address = ("127.0.0.1", ports["data"])
            callers = [threading.Thread(target=caller, args=(number, address, is_over)) for number in range(CALLERS)]
            callers.append(threading.Thread(target=chorus, args=(address, is_over)))
            for thread in callers:
                thread.start()
            for (share, part), (until_share, _) in zip(PARTS, PARTS[1:] + [(1.0, "")]):
                clouds["a"].failing, clouds["a"].slow = (0.7, 0.5) if part == "failing" else (0.0, 0.15)
                if part == "outage":
                    for service in away:
                        service.close()
                if part == "crash":
                    for child in children(gateway.pid):
                        os.kill(child, signal.SIGKILL)
                print(f"{share:4.0%} {part}", flush=True)
                time.sleep(max(0.0, began + until_share * seconds - time.time()))
                if part == "outage":
                    for service in away:
                        service.open()
            subprocess.run([sys.executable, FOLDER / "draw.py", url, str(int(time.time() - began))], check=True)
            is_over.set()
            for thread in callers:
                thread.join()
        finally:
            for process in (gateway, scraping):
                process.terminate()
            for process in (gateway, scraping):
                process.wait()


if __name__ == "__main__":
    main()
