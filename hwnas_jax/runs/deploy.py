"""Writes a network as ONNX and StableHLO programs, with its weights.

A program takes pixels: normalisation is part of it. A program whose logits
differ from JAX's on a batch of test images is not written.

  network.onnx            float32[B, C, H, W] pixels in [0, 255] -> logits
  network.cpu.stablehlo   float32[B, H, W, C] pixels -> logits; for
  network.gpu.stablehlo   `jax.export.deserialize`; the second for TPUs too
  export.json             `io.records.Export`
"""

import hashlib
import pathlib
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.core.compile import jit
from hwnas_jax.deploy import onnx, stablehlo
from hwnas_jax.io import records, versions
from hwnas_jax.io.records import Export
from hwnas_jax.nets.conv import tracing_for
from hwnas_jax.runs.weights import Infer

TOLERANCE = 1e-3  # of the largest logit


class Deployable(NamedTuple):
  """A network with its weights, and what its export is checked on.

  infer: float32[B, H, W, C] pixels in [0, 255] -> logits, weights inside.
  images: uint8[B, H, W, C] of the test split.
  """

  id: str
  architecture: dict[str, str]
  num_classes: int
  infer: Infer
  images: np.ndarray


def write(network: Deployable, out: str | pathlib.Path) -> Export:
  """Converts a network, compares it with JAX, and writes it.

  Returns:
    What export.json holds. Programs for another platform are written without
    a comparison.

  Raises:
    ValueError: a program differs from JAX on the network's images; nothing
      was written.
    ModuleNotFoundError: the extra [onnx] of this package is not installed.
  """
  pixels = np.asarray(network.images, np.float32)
  logits = np.asarray(jit(lambda x: network.infer(x))(pixels))
  with tracing_for("onnx"):
    model = onnx.to_onnx(lambda x: network.infer(x), [pixels.shape])
  files = {"network.onnx": model.SerializeToString()}
  outputs = {"network.onnx": onnx.run(model, pixels)[0]}
  for target, platforms in stablehlo.TARGETS.items():
    file = f"network.{target}.stablehlo"
    with tracing_for(target):
      shape = jax.ShapeDtypeStruct(pixels.shape, jnp.float32)
      infer = lambda x: network.infer(x)  # noqa: E731
      files[file] = stablehlo.to_stablehlo(infer, [shape], target)
    if _platform() in platforms:
      program = jax.export.deserialize(bytearray(files[file]))
      outputs[file] = np.asarray(jit(program.call)(pixels))
  count, height, width, channels = pixels.shape
  export = Export(
    id=network.id,
    architecture=network.architecture,
    num_classes=network.num_classes,
    pixels=(0, 255),
    shape=(count, height, width, channels),
    versions=versions.versions(),
    largest_logit=float(np.abs(logits).max()),
    largest_difference=_differences(logits, outputs),
    sha256={f: hashlib.sha256(c).hexdigest() for f, c in files.items()},
  )
  folder = pathlib.Path(out).expanduser()
  folder.mkdir(parents=True, exist_ok=True)
  for file, content in files.items():
    (folder / file).write_bytes(content)
  records.write(folder / "export.json", export)
  return export


def _differences(
  logits: np.ndarray, outputs: Mapping[str, np.ndarray]
) -> dict[str, float]:
  """{file: the largest difference of a logit from JAX's}.

  Raises:
    ValueError: one is larger than TOLERANCE allows.
  """
  differences = {f: float(np.abs(y - logits).max()) for f, y in outputs.items()}
  allowed = TOLERANCE * float(np.abs(logits).max())
  for file, difference in differences.items():
    if not difference <= allowed:  # NaN is not
      raise ValueError(
        f"a logit of {file} differs from JAX's by {difference:.3g}, and"
        f" {allowed:.3g} is allowed: nothing was written"
      )
  return differences


def _platform() -> str:
  """JAX's default platform, as jax.export names it."""
  name = jax.default_backend()
  return "cuda" if name == "gpu" else name
