"""How soon the starter answers, and how fast it writes.

    python bench/start.py [--runs 5]

Each run starts `ratchet serve` in an empty home and asks one question as soon as the port answers: seconds from the
command to the whole first answer. Then one stream of 200 tokens in the engine, repeated: tokens a second. Prints
medians, writes bench/results/start.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from importlib.metadata import version
from pathlib import Path

from lm.engine import Engine
from lm.loading import load_base
from lm.prompts import encode_chat
from lm.settings import EngineSettings, Sampling

ROOT = Path(__file__).parent.parent
RESULT = ROOT / "bench/results/start.json"
QUESTION = {"role": "user", "content": "What is 12 + 8?"}
PATIENCE = 60  # seconds
STREAM = 200  # tokens


def first_answer() -> tuple[float, str]:
    """Seconds from `ratchet serve` to the end of the first answer, and the answer."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as home:
        command = [sys.executable, "-m", "ratchet", "serve", "--port", str(port), "--home", home]
        begun = time.monotonic()
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            body = json.dumps({"model": "ratchet", "messages": [QUESTION]}).encode()
            request = urllib.request.Request(
                f"http://127.0.0.1:{port}/v1/chat/completions", body, {"Content-Type": "application/json"}
            )
            while True:
                try:
                    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                        said = json.load(answer)["choices"][0]["message"]["content"]
                    return time.monotonic() - begun, said
                except urllib.error.HTTPError:
                    raise
                except urllib.error.URLError:
                    if process.poll() is not None or time.monotonic() - begun > PATIENCE:
                        raise
                    time.sleep(0.05)
        finally:
            process.terminate()
            process.wait()


def stream_speed(engine: Engine) -> float:
    """Tokens a second of one stream in the engine, prompt included."""
    prompt = encode_chat(engine.base, [QUESTION])
    begun = time.monotonic()
    [done] = engine.generate([prompt], Sampling(temperature=0.8, max_tokens=STREAM, seed=0, ignore_eos=True))
    return len(done.token_ids) / (time.monotonic() - begun)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    answered = [first_answer() for _ in range(runs)]
    engine = Engine(load_base("starter", device="cpu", dtype="float32"), EngineSettings())
    stream_speed(engine)
    speeds = [stream_speed(engine) for _ in range(runs)]
    result = {
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs, {platform.system()}, "
        f"Python {platform.python_version()}",
        "versions": {name: version(name) for name in ("torch", "transformers", "gradio")},
        "first_answer_seconds": {"median": statistics.median(s for s, _ in answered), "all": [s for s, _ in answered]},
        "stream_tokens_per_second": {"median": statistics.median(speeds), "all": speeds},
    }
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(f"{result['machine']} {result['versions']}")
    print(f"first answer {statistics.median(s for s, _ in answered):.2f} s after the command: {answered[0][1]!r}")
    print(f"one stream: {statistics.median(speeds):.0f} tokens/s")


if __name__ == "__main__":
    main()
