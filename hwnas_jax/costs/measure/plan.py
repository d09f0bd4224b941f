"""A plan: what to measure on a device that cannot run JAX, as a folder.

  plan.json           what there is to measure; schema below
  runner.py           measures it, writes timings.json (costs/runner.py)
  onnx/               the models
  stablehlo/          the same programs for other compilers; nothing reads them

plan.json, schema 1, every field required:

  schema        1
  spec          the networks' space, as text
  space         SHA-256 of what the space is
  batch_size    images a call
  dtype         "float32"
  layout        "NCHW": images as ONNX takes them
  versions      what `io.versions.versions` returned
  entries       a list of
    id            names the entry
    kind          "site" or "network"
    site          fields of the spaces.Site; of a site
    architecture  {choice: operation}; of a network
    onnx          {file: length of the chain}; a network is one of length 1
    stablehlo     {target: file}; weights are its first argument
    sha256        {file: SHA-256}
  digest        SHA-256 of everything else

A site is measured as the slope over two lengths of a chain, unrolled: the
operation, each time with weights of its own, and the sum that an edge of a
cell adds into. A link reads what the last one wrote. Where the operation
changes the shape it reads an input of its own, or a compiler would find the
links equal.
"""

import functools
import hashlib
import operator
import pathlib
import shutil
from collections.abc import Callable, Sequence
from typing import Any

import jax

from hwnas_jax.core.types import Genotype, Params
from hwnas_jax.costs.measure import timing
from hwnas_jax.deploy import onnx, stablehlo
from hwnas_jax.io import fields, versions, writers
from hwnas_jax.io.progress import Progress
from hwnas_jax.nets.conv import tracing_for
from hwnas_jax.nets.models import make_network
from hwnas_jax.nets.ops import Module, make_op
from hwnas_jax.spaces import architecture
from hwnas_jax.spaces.spec import Site, Space, Spec

SCHEMA = 1
LENGTHS = (1, 9)  # of a site's chains


def write(
  folder: str | pathlib.Path,
  net: Spec,
  batch_size: int,
  genotypes: Sequence[Genotype],
  *,
  sites: bool = True,
) -> dict[str, Any]:
  """Writes a plan: every site of a space, and some whole networks.

  Args:
    folder: a new one, or one whose plan was not finished.
    net: the networks' space.
    batch_size: images a call.
    genotypes: of the networks, to calibrate on.
    sites: whether to measure sites; another device's table can do.

  Returns:
    plan.json.

  Raises:
    ValueError: there is a plan already, or ONNX lacks an operation.
    ModuleNotFoundError: the extra [onnx] is not installed.
  """
  folder, space = pathlib.Path(folder).expanduser(), net.space()
  if (folder / "plan.json").exists():
    raise ValueError(f"{folder} holds a plan: give another folder")
  every = space.unique_sites() if sites else ()
  timed = [site for site in every if not timing.is_free(site)]
  entries: list[dict[str, Any]] = []
  with Progress(len(timed) + len(genotypes), "plan") as progress:
    for site in timed:
      name = f"site_{len(entries):03}"
      entries.append(_site_entry(folder, name, site, batch_size))
      progress.update(len(entries))
    for genotype in genotypes:
      entries.append(_network_entry(folder, net, genotype, batch_size))
      progress.update(len(entries))
  document = {
    "schema": SCHEMA,
    "spec": repr(net),
    "space": space_digest(space),
    "batch_size": batch_size,
    "dtype": "float32",
    "layout": "NCHW",
    "versions": versions.versions(),
    "entries": entries,
  }
  document["digest"] = fields.digest(document)
  # Not imported: it wants onnxruntime.
  shutil.copy(pathlib.Path(__file__).with_name("runner.py"), folder)
  writers.write_json(folder / "plan.json", document)
  return document


def read(folder: str | pathlib.Path) -> dict[str, Any]:
  """Reads plan.json.

  Raises:
    FileNotFoundError: there is none.
    ValueError: it is damaged; the message names the field.
  """
  path = pathlib.Path(folder).expanduser() / "plan.json"
  document = writers.read_json(path)
  fields.check(f"{path}", document, _HEAD)
  fields.check_digest(
    f"{path}", document, "the file was changed; restore a copy"
  )
  return document


def space_digest(space: Space) -> str:
  """SHA-256 of what a space is: choices, operations and their sites."""
  return hashlib.sha256(repr(space).encode()).hexdigest()


def _site_entry(
  folder: pathlib.Path, name: str, site: Site, batch_size: int
) -> dict[str, Any]:
  module = make_op(site, "eval")
  shape = (batch_size, site.height, site.width, site.channels_in)
  models = {}
  for length in LENGTHS:
    function, count = _chain(site, module, shape, length)
    with tracing_for("onnx"):
      model = onnx.to_onnx(function, [shape] * count)
    models[f"onnx/{name}.{length}.onnx"] = length, model.SerializeToString()
  head = {"id": name, "kind": "site", "site": site.to_json()}
  programs = _stablehlo(name, lambda v, x: module.apply(v, x), module, shape)
  return head | _store(folder, models, programs)


def _network_entry(
  folder: pathlib.Path, net: Spec, genotype: Genotype, batch_size: int
) -> dict[str, Any]:
  space, module = net.space(), make_network(net, genotype, "eval")
  name = f"network_{architecture.identity(space, genotype)}"
  shape = (batch_size, *net.image)
  variables, _ = timing.random_inputs(module, shape)
  with tracing_for("onnx"):
    model = onnx.to_onnx(lambda x: module.apply(variables, x)[0], [shape])
  models = {f"onnx/{name}.onnx": (1, model.SerializeToString())}
  infer = lambda v, x: module.apply(v, x)[0]  # noqa: E731
  programs = _stablehlo(name, infer, module, shape)
  edges = architecture.to_json(space, genotype)
  head = {"id": name, "kind": "network", "architecture": edges}
  return head | _store(folder, models, programs)


def _chain(
  site: Site, module: Module, shape: tuple[int, ...], length: int
) -> tuple[Callable[..., Any], int]:
  """(function of its inputs, their number) of a chain."""
  weights = [
    timing.random_inputs(module, shape, seed)[0] for seed in range(length)
  ]
  example = jax.ShapeDtypeStruct(shape, "float32")
  result = jax.eval_shape(module.apply, weights[0], example)
  follows = not timing.is_fixed(site) and result.shape == shape

  def chain(*inputs: jax.Array) -> Any:
    outputs: list[Any] = []
    for index, variables in enumerate(weights):
      last = outputs[-1] if outputs else inputs[0]
      x = last if follows else inputs[index]
      outputs.append(module.apply(variables, x))
    if not timing.adds(site):
      return outputs[-1:] if follows else outputs
    return functools.reduce(operator.add, outputs)

  return chain, 1 if follows else length


def _stablehlo(
  name: str,
  function: Callable[[Params, jax.Array], Any],
  module: Module,
  shape: tuple[int, ...],
) -> dict[str, tuple[str, bytes]]:
  arguments = timing.random_inputs(module, shape)
  found = {}
  for target in stablehlo.TARGETS:
    with tracing_for(target):
      program = stablehlo.to_stablehlo(function, arguments, target)
    found[target] = f"stablehlo/{name}.{target}", program
  return found


def _store(
  folder: pathlib.Path,
  models: dict[str, tuple[int, bytes]],
  programs: dict[str, tuple[str, bytes]],
) -> dict[str, Any]:
  contents = {file: content for file, (_, content) in models.items()}
  contents |= dict(programs.values())
  for file, content in contents.items():
    path = folder / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
  return {
    "onnx": {file: length for file, (length, _) in models.items()},
    "stablehlo": {target: file for target, (file, _) in programs.items()},
    "sha256": {f: hashlib.sha256(c).hexdigest() for f, c in contents.items()},
  }


_HEAD: dict[str, fields.Rule] = {
  "schema": fields.one_of(SCHEMA),
  "spec": fields.TEXT,
  "space": fields.TEXT,
  "batch_size": fields.COUNT,
  "dtype": fields.one_of("float32"),
  "layout": fields.one_of("NCHW"),
  "versions": fields.OBJECT,
  "entries": fields.LIST,
  "digest": fields.TEXT,
}
