"""The main job over HTTP: eight agents, the real SDK, and a model service on loopback that is limited and goes wrong.

`make demo-http` runs it. It starts `orchestrate stub-server` as a process of its own, points a configuration at it, runs the task, and
prints what both sides say of it.
"""

import json
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
ORCHESTRATE = (sys.executable, "-c", "from orchestrator.cli.app import main; main()")
TASK = ROOT / "tasks" / "refactor.yaml"
FAULTS = ("overloaded=0.05", "stream_cut=0.03", "html=0.02", "error_event=0.02")
CONFIG = """\
backend: {backend}
model: stub
base_url: {url}
api_key_env: null
is_simulated: true
corrections: 1
prices: {{input_usd_per_million: 3.0, output_usd_per_million: 15.0}}
"""


def main(backend: str = "claude") -> int:
    serve = [*ORCHESTRATE, "stub-server", "--port", "0", "--json", "--task", str(TASK), "--rpm", "600"]
    for fault in FAULTS:
        serve += ["--fault", fault]
    server = subprocess.Popen(serve, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        if server.stdout is None or not (first := server.stdout.readline()):
            return server.wait()
        address = json.loads(first)
        url = address["url"] if backend == "claude" else address["openai_url"]
        print(f"model service at {url}, 600 requests a minute, faults: {', '.join(FAULTS)}", flush=True)
        with tempfile.TemporaryDirectory() as scratch:
            config = Path(scratch) / f"{backend}-over-http.yaml"
            config.write_text(CONFIG.format(backend=backend, url=url))
            run = [*ORCHESTRATE, "run", str(TASK), "--agents", "8", "--config", str(config)]
            code = subprocess.run(run, cwd=ROOT, check=False).returncode
    finally:
        server.send_signal(signal.SIGINT)
        told, _ = server.communicate(timeout=30)
    print(f"the service counted: {told.strip()}")
    return code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
