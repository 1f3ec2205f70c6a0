"""The servers that benchmarks/serving.py compares with: each answers with the same pickled model, in its own way.

Every peer but MLflow is installed by uv into an environment of its own below the user's cache folder, at its first use.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "prefect-ml-benchmarks"

BARE = """
import pickle, sys
import orjson, pandas as pd, uvicorn

model = pickle.load(open(sys.argv[1], "rb"))


async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    split = orjson.loads(body)["dataframe_split"]
    frame = pd.DataFrame(split["data"], columns=split["columns"])
    answer = orjson.dumps({"predictions": model.predict(frame)}, option=orjson.OPT_SERIALIZE_NUMPY)
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(answer)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})


uvicorn.run(app, port=int(sys.argv[2]), log_level="error", lifespan="off")
"""

LITSERVE = """
import pickle, sys
import litserve, pandas as pd


class Api(litserve.LitAPI):
    def setup(self, device):
        self.model = pickle.load(open(sys.argv[1], "rb"))

    def decode_request(self, request):
        split = request["dataframe_split"]
        return pd.DataFrame(split["data"], columns=split["columns"])

    def predict(self, frame):
        return self.model.predict(frame)

    def encode_response(self, output):
        return {"predictions": output.tolist()}


if __name__ == "__main__":
    server = litserve.LitServer(Api(api_path="/invocations"), accelerator="cpu")
    server.run(port=int(sys.argv[2]), host="127.0.0.1", generate_client_file=False, log_level="error")
"""

BENTOML = """
import os, pickle
import bentoml, pandas as pd


@bentoml.service(workers=1)
class Model:
    def __init__(self):
        self.model = pickle.load(open(os.environ["MODEL"], "rb"))

    @bentoml.api(route="/invocations")
    def predict(self, dataframe_split: dict) -> dict:
        frame = pd.DataFrame(dataframe_split["data"], columns=dataframe_split["columns"])
        return {"predictions": self.model.predict(frame).tolist()}
"""


@dataclass(frozen=True)
class Server:
    """One server: how it is started on a port, and what it is asked."""

    name: str
    command: list[str]
    port: int
    bodies: Mapping[int, bytes]
    path: str = "/invocations"
    env: Mapping[str, str] = field(default_factory=dict)
    folder: Path | None = None


def python_with(*packages: str) -> str | None:
    """The interpreter of an environment that has these packages; None when they cannot be installed."""
    folder = CACHE / packages[0]
    python = folder / "bin" / "python"
    if not python.exists():
        print(f"installing {packages[0]} ...", file=sys.stderr)
        common = [f"scikit-learn=={version('scikit-learn')}", "pandas", "orjson"]
        for command in (
            ["uv", "venv", "-q", "--python", sys.executable, str(folder)],
            ["uv", "pip", "install", "-q", "--python", str(python), *packages, *common],
        ):
            if subprocess.run([sys.executable, "-m", *command], check=False).returncode:
                return None
    return str(python)


def servers(folder: Path, ports: Mapping[str, int], bodies: Mapping[int, bytes]) -> list[Server]:
    """All that can be started, ours first, for the models that lie in a folder."""
    python, model = sys.executable, str(folder / "bare.pkl")
    ours = str(Path(python).with_name("prefect-ml"))
    mlflow = str(Path(python).with_name("mlflow"))
    found = [
        Server(
            "prefect-ml",
            [ours, "serve", str(folder / "ours"), "--port", str(ports["prefect-ml"])],
            ports["prefect-ml"],
            bodies,
            env={"PREFECT_ML_HOME": str(folder / "home")},
        ),
        Server("bare ASGI", [python, "-c", BARE, model, str(ports["bare ASGI"])], ports["bare ASGI"], bodies),
        Server(
            "mlflow",
            [
                *(mlflow, "models", "serve", "--env-manager", "local"),
                *("-m", str(folder / "theirs"), "-p", str(ports["mlflow"])),
            ],
            ports["mlflow"],
            bodies,
            # mlflow starts uvicorn by its name.
            env={"PATH": f"{Path(python).parent}{os.pathsep}{os.environ['PATH']}"},
        ),
    ]
    if peer := python_with("litserve"):
        (folder / "lit.py").write_text(LITSERVE)
        command = [peer, str(folder / "lit.py"), model, str(ports["litserve"])]
        found.append(Server("litserve", command, ports["litserve"], bodies))
    if peer := python_with("bentoml"):
        (folder / "bento").mkdir()
        (folder / "bento" / "service.py").write_text(BENTOML)
        command = [peer, "-m", "bentoml", "serve", "service:Model", "--port", str(ports["bentoml"])]
        env = {"MODEL": model, "BENTOML_HOME": str(folder / "bento"), "BENTOML_DO_NOT_TRACK": "true"}
        found.append(Server("bentoml", command, ports["bentoml"], bodies, env=env, folder=folder / "bento"))
    if peer := python_with("mlserver", "mlserver-sklearn"):
        found.append(_mlserver(peer, folder, model, ports["mlserver"], bodies))
    return found


def _mlserver(python: str, folder: Path, model: str, port: int, bodies: Mapping[int, bytes]) -> Server:
    """It speaks KServe's protocol, so that it is sent the same numbers as a tensor."""
    home = folder / "mlserver"
    home.mkdir()
    about = {"http_port": port, "grpc_port": port + 1, "metrics_port": port + 2, "parallel_workers": 0, "debug": False}
    (home / "settings.json").write_text(json.dumps(about))
    settings = {"name": "m", "implementation": "mlserver_sklearn.SKLearnModel", "parameters": {"uri": model}}
    (home / "model-settings.json").write_text(json.dumps(settings))
    tensors = {}
    for rows, body in bodies.items():
        data = json.loads(body)["dataframe_split"]["data"]
        tensor = {"name": "rows", "shape": [rows, len(data[0])], "datatype": "FP64", "data": data}
        tensors[rows] = json.dumps({"inputs": [tensor]}).encode()
    command = [str(Path(python).with_name("mlserver")), "start", str(home)]
    return Server("mlserver", command, port, tensors, path="/v2/models/m/infer", folder=home)
