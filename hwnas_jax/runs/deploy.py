"""Writes a network as ONNX and StableHLO programs, with its weights.

A program takes pixels: normalisation is part of it.

  network.onnx            float32[B, C, H, W] pixels in [0, 255] -> logits;
                          input `images`, output `logits`
  network.cpu.stablehlo   float32[B, H, W, C] pixels -> logits; for
  network.gpu.stablehlo   `jax.export.deserialize`; the second for TPUs too
  export.json             `io.records.Export`

Each file that this machine can run is run on the test split. It has to give
JAX's logits and the accuracy that the run recorded, otherwise nothing is kept.
"""

import functools
import pathlib
import tempfile
from typing import NamedTuple

import jax
import jax.numpy as jnp
import msgspec
import numpy as np

from hwnas_jax.core import program
from hwnas_jax.core.compile import jit
from hwnas_jax.costs.measure import timing
from hwnas_jax.deploy import onnx_model
from hwnas_jax.io import records, versions
from hwnas_jax.io.records import Export, Measurement, Program
from hwnas_jax.runs.programs import (
  ONNX,
  Deployable,
  Made,
  Predict,
  make,
)

# Of the largest logit, by which a logit may differ: by the coarsest type that
# the network computes in.
TOLERANCES = {"bfloat16": 6e-2, "float16": 1e-2, "float32": 1e-3}
REPEATS = 10  # samples of a file's latency


class _Expected(NamedTuple):
  """What a program has to give of the test split.

  logits: JAX's, [N, num_classes]. labels: [N]; None of random images.
  allowed: difference of a logit.
  accuracy: that the run recorded, or None.
  """

  logits: np.ndarray
  labels: np.ndarray | None
  allowed: float
  accuracy: float | None

  def check(self, file: str, logits: np.ndarray) -> None:
    """Raises ValueError where a program gives something else."""
    difference = float(np.abs(logits - self.logits).max())
    if not difference <= self.allowed:  # NaN is not
      raise ValueError(
        f"a logit of {file} differs from JAX's by {difference:.3g}, and"
        f" {self.allowed:.3g} is allowed: nothing was written"
      )
    if self.accuracy is None or self.labels is None:
      return
    found, count = accuracy(logits, self.labels), len(self.labels)
    top = np.sort(self.logits, axis=-1)[:, -2:]
    near = int((top[:, 1] - top[:, 0] <= 2 * self.allowed).sum())
    if abs(found - self.accuracy) * count > near + 0.5:
      raise ValueError(
        f"{file} has test accuracy {found:.4f}, and the run recorded"
        f" {self.accuracy:.4f} for these weights; rounding explains {near} of"
        f" {count} examples. The model's code, the data or the weights are no"
        " longer those of the run: nothing was written"
      )


def accuracy(logits: np.ndarray, labels: np.ndarray) -> float:
  """The share of examples whose largest logit is their label's."""
  return float((logits.argmax(-1) == labels).mean())


def write(
  network: Deployable, out: str | pathlib.Path, batch_size: int
) -> Export:
  """Converts a network, writes it, and runs the files on the test split.

  ONNX that cannot be made does not stop StableHLO: `Export.refused` says why.

  Args:
    network: the network.
    out: the folder.
    batch_size: images a call when latency is measured; and of a program that
      cannot be made for any batch.

  Returns:
    What export.json holds. Programs for another platform are not run.

  Raises:
    ValueError: a program differs from JAX, or from the accuracy that the run
      recorded; nothing was written, and what was there is as it was.
  """
  made, refused = make(network, batch_size)
  pixels = np.asarray(network.images, np.float32)
  compiled = jit(lambda x: network.infer(x))
  logits = _predict(lambda x: np.asarray(compiled(x)), pixels, batch_size)
  largest = float(np.abs(logits).max())
  shape = jax.ShapeDtypeStruct((1, *network.data.image), jnp.float32)
  kinds = program.dtypes(jax.make_jaxpr(network.infer)(shape).jaxpr)
  allowed = max(v for k, v in TOLERANCES.items() if k in {*kinds, "float32"})
  expected = _Expected(
    logits, network.labels, allowed * largest, network.test_accuracy
  )
  folder = pathlib.Path(out).expanduser()
  folder.mkdir(parents=True, exist_ok=True)
  with tempfile.TemporaryDirectory(prefix=".export-", dir=folder) as new:
    for file, item in made.items():
      (pathlib.Path(new) / file).write_bytes(item.content)
    found = _run_files(made, pathlib.Path(new), pixels, batch_size, expected)
    export = _export(network, found, refused, batch_size, largest)
    records.write(pathlib.Path(new) / "export.json", export)
    for file in refused:  # of an export before
      (folder / file).unlink(missing_ok=True)
    for file in (*made, "export.json"):
      (pathlib.Path(new) / file).replace(folder / file)
  return export


def _run_files(
  made: dict[str, Made],
  folder: pathlib.Path,
  pixels: np.ndarray,
  batch_size: int,
  expected: _Expected,
) -> dict[str, Program]:
  """The records of the files, with what running them gave.

  Raises:
    ValueError: see `write`.
  """
  loaded = {
    file: item.load(folder / file)
    for file, item in made.items()
    if item.load is not None
  }
  records_by_file = {file: item.record for file, item in made.items()}
  first = np.resize(pixels, (batch_size, *pixels.shape[1:]))
  calls = {f: functools.partial(run, first) for f, run in loaded.items()}
  latencies: dict[str, Measurement] = {}
  for file, run in loaded.items():
    logits = _predict(run, pixels, batch_size)
    if made[file].record.batch is None:  # one image too
      logits = np.concatenate([run(pixels[:1]), logits[1:]])
    expected.check(file, logits)
    records_by_file[file] = msgspec.structs.replace(
      records_by_file[file],
      runtime=_runtime(file),
      largest_difference=float(np.abs(logits - expected.logits).max()),
      test_accuracy=None
      if expected.labels is None
      else accuracy(logits, expected.labels),
    )
  latencies = timing.measure_networks(calls, REPEATS)
  return {
    file: msgspec.structs.replace(record, latency=latencies.get(file))
    for file, record in records_by_file.items()
  }


def _predict(run: Predict, pixels: np.ndarray, batch_size: int) -> np.ndarray:
  """Logits of all images, in batches; the last one is filled up."""
  parts = []
  for start in range(0, len(pixels), batch_size):
    part = pixels[start : start + batch_size]
    parts.append(
      run(np.resize(part, (batch_size, *part.shape[1:])))[: len(part)]
    )
  return np.concatenate(parts)


def _runtime(file: str) -> str:
  """The library that ran a file here, and on what."""
  if file == ONNX:
    return f"onnxruntime {onnx_model.require('onnxruntime').__version__}, CPU"
  return f"jax {jax.__version__}, {jax.default_backend()}"


def _export(
  network: Deployable,
  programs: dict[str, Program],
  refused: dict[str, str],
  batch_size: int,
  largest: float,
) -> Export:
  named = network.data
  return Export(
    id=network.id,
    architecture=network.architecture,
    num_classes=named.num_classes,
    class_names=named.class_names,
    pixels=(0, 255),
    dtype="float32",
    image=named.image,
    mean=named.mean,
    std=named.std,
    batch_size=batch_size,
    test_accuracy=network.test_accuracy,
    latency=network.latency,
    largest_logit=largest,
    programs=programs,
    refused=refused,
    versions=versions.versions(),
    device=versions.device_fingerprint(),
  )
