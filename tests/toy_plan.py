"""A plan for another device, measured by its own runner."""

import json
import pathlib
import subprocess
import sys

from hwnas_jax.io import document


def measure(folder: pathlib.Path) -> None:
  """Runs runner.py, then sets times that a toy this small would not have."""
  subprocess.run(
    [sys.executable, "-I", "runner.py", "--repeats=3"],
    cwd=folder,
    check=True,
    capture_output=True,
    timeout=60,
  )
  path = folder / "timings.json"
  timings = json.loads(path.read_text())
  planned = json.loads((folder / "plan.json").read_text())["entries"]
  for i, row in enumerate(planned):
    samples = timings["samples_ms"][row["id"]]
    assert samples.keys() == row["onnx"].keys()
    samples.update(
      {file: [5.0 + (i + 1) * n] * 3 for file, n in row["onnx"].items()}
    )
  timings["digest"] = document.digest(timings)
  path.write_text(json.dumps(timings))
