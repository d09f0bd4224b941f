"""A found network leaves the package: ONNX and StableHLO, weights inside.

Normalisation is part of the network. What differs from JAX on a batch of test
images is not written. The files: see `hwnas_jax.export`.
"""

import hashlib
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from hwnas_jax.config import checks, method
from hwnas_jax.core import tree
from hwnas_jax.core.compile import jit
from hwnas_jax.core.types import Array, Params
from hwnas_jax.deploy import onnx, stablehlo
from hwnas_jax.io import versions, writers
from hwnas_jax.nets.conv import tracing_for
from hwnas_jax.nets.models import make_network
from hwnas_jax.nets.ops import Module
from hwnas_jax.spaces import architecture

TOLERANCE = 1e-3  # of the largest logit


class Found(NamedTuple):
  """A network of a run.

  infer: float32[B, H, W, C] pixels in [0, 255] -> logits, weights inside.
  images: uint8[B, H, W, C] of the test split.
  about: what export.json says of it.
  """

  infer: Callable[[Array], Array]
  images: np.ndarray
  about: dict[str, Any]


def find(workdir: str, name: str, batch_size: int | None) -> Found:
  """Reads a network of a run folder.

  Args:
    workdir: the run folder.
    name: the network's id.
    batch_size: images a call; None is that of the run's latencies.

  Raises:
    FileNotFoundError: there is no such run, network, or data set.
    ValueError: its weights are not those of its architecture.
  """
  folder = pathlib.Path(workdir).expanduser()
  config = checks.read_run(folder)
  net, home = method.make_nets(config)[1], _home(folder, name)
  edges = writers.read_json(home / "architecture.json")["edges"]
  genotype = architecture.from_json(net.space(), edges)
  module = make_network(net, genotype, "eval")
  variables = read_weights(home / "weights.npz", module, net.image)
  dataset = method.load_dataset(config)
  mean, std = (np.asarray(v, np.float32) for v in (dataset.mean, dataset.std))

  def infer(images: Array) -> Array:
    x = images * np.float32(1 / 255) - mean[None, None, None]
    return module.apply(variables, x / std[None, None, None])[0]

  count = batch_size or config.latency.batch_size
  images = np.asarray(dataset.test.images)
  about = {
    "id": name,
    "architecture": edges,
    "num_classes": net.num_classes,
    "pixels": [0, 255],
    "shape": [count, *net.image],
  }
  return Found(infer, np.resize(images, (count, *net.image)), about)


def read_weights(
  path: pathlib.Path, module: Module, image: tuple[int, ...]
) -> Params:
  """The variables of a network in mode `eval`, of a run's weights.npz.

  Raises:
    FileNotFoundError: there is no such file.
    ValueError: an array is missing or of another shape; the message has it.
  """
  example = jax.ShapeDtypeStruct((1, *image), jnp.float32)
  shapes = jax.eval_shape(module.init, jax.random.key(0), example)
  wanted = {"params": shapes["params"], "stats": shapes.get("batch_stats", {})}
  with np.load(path) as stored:
    # An auxiliary head, which only training has, stays behind.
    names = [name for name in tree.flatten(wanted) if name in stored]
    found = {name: stored[name] for name in names}
  faults = tree.diff(tree.flatten(wanted), found)
  if faults:
    raise ValueError(f"{path} is not of this architecture: {faults[0]}")
  leaves = jax.tree_util.tree_leaves_with_path(wanted)
  values = [found[tree.path(keys)] for keys, _ in leaves]
  weights = jax.tree.unflatten(jax.tree.structure(wanted), values)
  return {"params": weights["params"], "batch_stats": weights["stats"]}


def write(network: Found, out: str) -> dict[str, Any]:
  """Converts a network, checks it, and writes it.

  Returns:
    export.json: with the largest difference of a logit from JAX's, by file,
    beside the largest logit. No program for another platform is checked.

  Raises:
    ValueError: a program differs from JAX on the network's images.
    ModuleNotFoundError: the extra [onnx] is not installed.
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
    if _here() in platforms:
      program = jax.export.deserialize(bytearray(files[file]))
      outputs[file] = np.asarray(jit(program.call)(pixels))
  document = {
    **network.about,
    "versions": versions.versions(),
    "largest_logit": float(np.abs(logits).max()),
    "largest_difference": _differences(logits, outputs),
    "sha256": {f: hashlib.sha256(c).hexdigest() for f, c in files.items()},
  }
  folder = pathlib.Path(out).expanduser()
  folder.mkdir(parents=True, exist_ok=True)
  for file, content in files.items():
    (folder / file).write_bytes(content)
  writers.write_json(folder / "export.json", document)
  return document


def _differences(
  logits: np.ndarray, outputs: Mapping[str, np.ndarray]
) -> dict[str, float]:
  found = {f: float(np.abs(y - logits).max()) for f, y in outputs.items()}
  allowed = TOLERANCE * float(np.abs(logits).max())
  for file, difference in found.items():
    if not difference <= allowed:  # NaN is not
      raise ValueError(
        f"{file} differs from JAX by {difference:.3g} in a logit, "
        f"{allowed:.3g} is allowed: nothing was written"
      )
  return found


def _here() -> str:
  """JAX's default platform, as jax.export names it."""
  name = jax.default_backend()
  return "cuda" if name == "gpu" else name


def _home(folder: pathlib.Path, name: str) -> pathlib.Path:
  """Where a run keeps a network's weights."""
  homes = [folder / kind / name for kind in ("networks", "queries")]
  for home in homes:
    if (home / "weights.npz").exists():
      return home
  known = {p.parent.name for p in folder.glob("*/*/weights.npz")}
  raise FileNotFoundError(
    f"{folder} has no network {name!r} with weights; it has "
    f"{', '.join(sorted(known)) or 'none'}"
  )
