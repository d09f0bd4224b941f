"""A plan: a folder with everything to measure on a device without JAX.

  plan.json           the list of sites and networks: a `Plan`
  runner.py           measures them, writes timings.json
  onnx/               the models
  stablehlo/          the same programs for other compilers; nothing reads them

A site is measured as the slope over two lengths of an unrolled chain. Each link
is the operation, with different weights, and on an edge of a cell the addition
into a sum. A link reads the output of the one before it. If the operation
changes the shape, each link reads a different input: a compiler would otherwise
see that all links are equal.
"""

import functools
import hashlib
import operator
import pathlib
import shutil
from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple, Protocol

import jax

from hwnas_jax.core.types import Array, Genotype, Params
from hwnas_jax.costs.measure import convertible
from hwnas_jax.costs.measure.chains import kind_of, random_inputs
from hwnas_jax.costs.table import SiteRecord, site_fields
from hwnas_jax.deploy import onnx, stablehlo
from hwnas_jax.io import document, paths, versions
from hwnas_jax.io.document import Count, Text
from hwnas_jax.io.progress import Progress
from hwnas_jax.io.records import Architecture, Record
from hwnas_jax.nets.conv import tracing_for
from hwnas_jax.nets.models import make_network
from hwnas_jax.nets.ops import Module, make_op
from hwnas_jax.spaces import architecture
from hwnas_jax.spaces.spec import Site, Space, Spec

SCHEMA = 1
LENGTHS = (1, 9)  # of a site's chains


class _Programs(Record, frozen=True, kw_only=True, tag_field="kind"):
  id: Text
  onnx: dict[str, Count]
  stablehlo: dict[str, Text]
  sha256: dict[str, Text]


class PlanSite(_Programs, frozen=True, kw_only=True, tag="site"):
  """A site to measure.

  id: the name of its samples in timings.json.
  onnx: {file: length of the chain}.
  stablehlo: {target: file}; weights are its first argument.
  sha256: {file: SHA-256}.
  """

  site: SiteRecord


class PlanNetwork(_Programs, frozen=True, kw_only=True, tag="network"):
  """A whole network to measure; the fields are those of a PlanSite.

  Its model is a chain of length 1.
  """

  architecture: Architecture


class Plan(Record, frozen=True, kw_only=True):
  """plan.json, which also has the field `digest`.

  spec: the networks' space, as text.
  space: SHA-256 of the space, see `space_digest`.
  batch_size: images a call.
  layout: of the images, as ONNX takes them.
  versions: `io.versions.versions`.
  """

  schema: Annotated[int, document.exactly(SCHEMA)] = SCHEMA
  spec: Text
  space: Text
  batch_size: Count
  dtype: Annotated[str, document.one_of("float32")] = "float32"
  layout: Annotated[str, document.one_of("NCHW")] = "NCHW"
  versions: dict[str, str | None]
  entries: tuple[PlanSite | PlanNetwork, ...]

  @property
  def digest(self) -> str:
    """The digest of plan.json."""
    return document.digest(document.checked("plan.json", self))


class Links(Protocol):
  """A chain as a function, to be exported."""

  def __call__(self, *inputs: Array) -> Any:
    """Returns what the chain's links compute of images [B, H, W, C] each."""


class UnrolledChain(NamedTuple):
  """A function, and how many inputs of the site's shape it takes."""

  function: Links
  num_inputs: int


class Infer(Protocol):
  """Inference of a module."""

  def __call__(self, variables: Params, x: Array, /) -> Any:
    """Returns the output for images [B, H, W, C]."""


class _Folder(NamedTuple):
  """A plan's folder, and the images a call of its models."""

  path: pathlib.Path
  batch_size: int

  def store(
    self, models: dict[str, tuple[int, bytes]], programs: dict[str, bytes]
  ) -> dict[str, Any]:
    """Writes files; returns the fields of an entry that name them.

    Args:
      models: {file: (length of the chain, ONNX)}.
      programs: {file: StableHLO}; a file's suffix is its target.
    """
    contents = {file: model for file, (_, model) in models.items()} | programs
    for file, content in contents.items():
      path = self.path / file
      path.parent.mkdir(parents=True, exist_ok=True)
      path.write_bytes(content)
    return {
      "onnx": {file: length for file, (length, _) in models.items()},
      "stablehlo": {file.rsplit(".", 1)[1]: file for file in programs},
      "sha256": {
        file: hashlib.sha256(content).hexdigest()
        for file, content in contents.items()
      },
    }


def write(
  folder: str | pathlib.Path,
  net: Spec,
  batch_size: int,
  genotypes: Sequence[Genotype],
  *,
  sites: bool = True,
) -> Plan:
  """Writes a plan: every site of a space, and some whole networks.

  Args:
    folder: a new folder, or one whose plan was not finished.
    net: the networks' space.
    batch_size: images a call.
    genotypes: the networks to calibrate on.
    sites: whether to measure sites; False to transfer another device's table.

  Returns:
    What plan.json holds.

  Raises:
    ValueError: the folder has a plan, or ONNX lacks an operation.
    ModuleNotFoundError: the extra [onnx] is not installed.
  """
  path, space = paths.expand(folder), net.space()
  if (path / "plan.json").exists():
    raise ValueError(f"{folder} holds a plan: give another folder")
  if gaps := convertible.sentence(space):
    raise ValueError(f"{gaps}, so there is no plan of it: profile it in JAX")
  every = space.unique_sites() if sites else ()
  timed = [site for site in every if kind_of(site) != "free"]
  target = _Folder(path, batch_size)
  entries: list[PlanSite | PlanNetwork] = []
  with Progress(len(timed) + len(genotypes), "plan") as progress:
    for site in timed:
      entries.append(_site_entry(target, f"site_{len(entries):03}", site))
      progress.update(len(entries))
    for genotype in genotypes:
      entries.append(_network_entry(target, net, genotype))
      progress.update(len(entries))
  plan = Plan(
    spec=repr(net),
    space=space_digest(space),
    batch_size=batch_size,
    versions=versions.versions(),
    entries=tuple(entries),
  )
  # Not imported: it needs onnxruntime.
  shutil.copy(pathlib.Path(__file__).with_name("runner.py"), path)
  document.write(path / "plan.json", plan)
  return plan


def read(folder: str | pathlib.Path) -> Plan:
  """Reads plan.json.

  Raises:
    FileNotFoundError: there is none.
    ValueError: it is damaged; the message names the field.
  """
  path = paths.expand(folder) / "plan.json"
  return document.read(path, Plan, "restore a copy of the plan's folder")


def space_digest(space: Space) -> str:
  """SHA-256 of a space's choices, operations and their sites."""
  return hashlib.sha256(repr(space).encode()).hexdigest()


def _site_entry(folder: _Folder, name: str, site: Site) -> PlanSite:
  module = make_op(site, "eval")
  shape = (folder.batch_size, site.height, site.width, site.channels_in)
  models = {}
  for length in LENGTHS:
    chain = _unrolled(site, module, shape, length)
    with tracing_for("onnx"):
      model = onnx.to_onnx(chain.function, [shape] * chain.num_inputs)
    models[f"onnx/{name}.{length}.onnx"] = length, model.SerializeToString()
  programs = _stablehlo(name, lambda v, x: module.apply(v, x), module, shape)
  record = SiteRecord(**site_fields(site))
  return PlanSite(id=name, site=record, **folder.store(models, programs))


def _network_entry(
  folder: _Folder, net: Spec, genotype: Genotype
) -> PlanNetwork:
  space, module = net.space(), make_network(net, genotype, "eval")
  name = f"network_{architecture.identity(space, genotype)}"
  shape = (folder.batch_size, *net.image)
  variables, _ = random_inputs(module, shape)
  with tracing_for("onnx"):
    model = onnx.to_onnx(lambda x: module.apply(variables, x)[0], [shape])
  models = {f"onnx/{name}.onnx": (1, model.SerializeToString())}
  infer = lambda v, x: module.apply(v, x)[0]  # noqa: E731
  programs = _stablehlo(name, infer, module, shape)
  return PlanNetwork(
    id=name,
    architecture=architecture.to_json(space, genotype),
    **folder.store(models, programs),
  )


def _unrolled(
  site: Site, module: Module, shape: tuple[int, ...], length: int
) -> UnrolledChain:
  kind = kind_of(site)
  weights = [random_inputs(module, shape, seed)[0] for seed in range(length)]
  example = jax.ShapeDtypeStruct(shape, "float32")
  result = jax.eval_shape(module.apply, weights[0], example)
  follows = kind != "fixed" and result.shape == shape

  def chain(*inputs: jax.Array) -> Any:
    outputs: list[Any] = []
    for index, variables in enumerate(weights):
      last = outputs[-1] if outputs else inputs[0]
      x = last if follows else inputs[index]
      outputs.append(module.apply(variables, x))
    if kind != "added":
      return outputs[-1:] if follows else outputs
    return functools.reduce(operator.add, outputs)

  return UnrolledChain(chain, 1 if follows else length)


def _stablehlo(
  name: str, infer: Infer, module: Module, shape: tuple[int, ...]
) -> dict[str, bytes]:
  """{file: program}, a file for each target."""
  arguments = random_inputs(module, shape)
  programs = {}
  for target in stablehlo.TARGETS:
    with tracing_for(target):
      program = stablehlo.to_stablehlo(infer, arguments, target)
    programs[f"stablehlo/{name}.{target}"] = program
  return programs
