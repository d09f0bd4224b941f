"""The programs of a network: ONNX, and StableHLO for each target.

A program takes pixels: normalisation is part of it.
"""

import functools
import hashlib
import json
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.core.compile import jit
from hwnas_jax.deploy import onnx, onnx_model, stablehlo
from hwnas_jax.io.records import DataSet, Measurement, Program
from hwnas_jax.nets.conv import tracing_for
from hwnas_jax.runs.weights import Infer

ONNX = "network.onnx"


class Deployable(NamedTuple):
  """A network with its weights, and what its export is checked on.

  infer: float32[B, H, W, C] pixels in [0, 255] -> logits, weights inside.
  data: the run's record of its data.
  images: uint8[N, H, W, C] of the test split. labels: int32[N]; None where the
    run's data are not here, and the images are random.
  test_accuracy: that the run recorded of these weights; None where none.
  latency: that the run measured.
  """

  id: str
  architecture: dict[str, str]
  infer: Infer
  data: DataSet
  images: np.ndarray
  labels: np.ndarray | None
  test_accuracy: float | None
  latency: Measurement | None


class Predict(Protocol):
  """A program of a file, ready to be called."""

  def __call__(self, pixels: np.ndarray, /) -> np.ndarray:
    """float32[B, H, W, C] -> logits [B, num_classes]."""


class Made(NamedTuple):
  """A file's content and record, and how to load it; None: not here."""

  content: bytes
  record: Program
  load: Callable[[pathlib.Path], Predict] | None


def make(
  network: Deployable, batch_size: int
) -> tuple[dict[str, Made], dict[str, str]]:
  """Makes every program of a network.

  Args:
    network: the network.
    batch_size: of a program whose model cannot take any batch.

  Returns:
    ({file: the program}, {file: why there is none}).
  """
  made, refused = {}, {}
  try:
    made[ONNX] = _of_any_batch(
      functools.partial(_onnx, network), network.data.image, batch_size
    )
  except (onnx.UnconvertedError, ModuleNotFoundError) as error:
    refused[ONNX] = str(error)
  for target in stablehlo.TARGETS:
    make = functools.partial(_stablehlo, network, target)
    made[f"network.{target}.stablehlo"] = _of_any_batch(
      make, network.data.image, batch_size
    )
  return made, refused


def _of_any_batch(
  make: Callable[[Sequence[Any], int | None], Made],
  image: tuple[int, int, int],
  batch_size: int,
) -> Made:
  """A program of any batch, or where its model needs a number, of one."""
  (batch,) = jax.export.symbolic_shape("batch")
  try:
    return make((batch, *image), None)
  except ModuleNotFoundError:
    raise
  except Exception:  # a model may do anything with the batch's size
    return make((batch_size, *image), batch_size)


def _onnx(network: Deployable, shape: Sequence[Any], batch: int | None) -> Made:
  names = onnx.Names(("images",), ("logits",))
  with tracing_for("onnx"):
    model = onnx.to_onnx(lambda x: network.infer(x), [shape], names)
  named = network.data
  about = {
    "id": network.id,
    "class_names": named.class_names,
    "pixels": [0, 255],
    "mean": named.mean,
    "std": named.std,
  }
  for key, value in about.items():
    entry = model.metadata_props.add()
    entry.key = key
    entry.value = value if isinstance(value, str) else json.dumps(value)
  content = model.SerializeToString()
  record = Program(
    sha256=hashlib.sha256(content).hexdigest(),
    layout="NCHW",
    batch=batch,
    input="images",
    output="logits",
    opset=onnx_model.OPSET,
  )

  def load(path: pathlib.Path) -> Predict:
    session = onnx.load(path)

    def predict(pixels: np.ndarray) -> np.ndarray:
      images = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))
      return np.asarray(session.run(["logits"], {"images": images})[0])

    return predict

  return Made(content, record, load)


def _stablehlo(
  network: Deployable, target: str, shape: Sequence[Any], batch: int | None
) -> Made:
  example = jax.ShapeDtypeStruct(tuple(shape), jnp.float32)
  with tracing_for(target):
    content = stablehlo.to_stablehlo(
      lambda x: network.infer(x), [example], target
    )
  platforms = stablehlo.TARGETS[target]
  record = Program(
    sha256=hashlib.sha256(content).hexdigest(),
    layout="NHWC",
    batch=batch,
    platforms=platforms,
  )

  def load(path: pathlib.Path) -> Predict:
    read = jax.export.deserialize(bytearray(path.read_bytes()))
    compiled = jit(read.call)
    return lambda pixels: np.asarray(compiled(pixels))

  return Made(content, record, load if _platform() in platforms else None)


def _platform() -> str:
  """JAX's default platform, as jax.export names it."""
  name = jax.default_backend()
  return "cuda" if name == "gpu" else name
