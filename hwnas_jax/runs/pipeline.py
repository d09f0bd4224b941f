"""The main job: table, search, networks, training, measurement, report.

Every stage writes its result to the run folder (`io.run_folder`). A stage whose
result is there is skipped, so a run that was killed goes on where it was.
"""

import functools
import pathlib
from typing import Any, NamedTuple

import jax
import msgspec

from hwnas_jax.config import method
from hwnas_jax.config import problem as problems
from hwnas_jax.config.fields import Config
from hwnas_jax.config.files import AnyConfig, typed
from hwnas_jax.config.problem import Nets, Problem
from hwnas_jax.core import tree
from hwnas_jax.core.rng import stream
from hwnas_jax.costs import table as tables
from hwnas_jax.costs.measure import networks, sites
from hwnas_jax.costs.predict import fit, predictor
from hwnas_jax.costs.predict.predictor import Predictor
from hwnas_jax.costs.table import LatencyTable
from hwnas_jax.data import load as data_load
from hwnas_jax.data.arrays import Dataset
from hwnas_jax.data.user import NAME as ARRAYS
from hwnas_jax.data.user import Data
from hwnas_jax.derive import collapse, sweep
from hwnas_jax.derive import family as families
from hwnas_jax.derive.family import Derived
from hwnas_jax.derive.shared import SharedWeights
from hwnas_jax.io import loop, records, versions
from hwnas_jax.io.records import Family, Shares, SweepPoint
from hwnas_jax.io.run_folder import RunFolder
from hwnas_jax.method.state import SearchState
from hwnas_jax.method.step import Parts
from hwnas_jax.report.html import write_report
from hwnas_jax.runs import members, training
from hwnas_jax.spaces import architecture
from hwnas_jax.spaces.spec import Spec

HELD_OUT = 512  # examples that show whether the search has collapsed
TERNARY_SIDE = 12  # points along a side of the report's ternary map


class Searched(NamedTuple):
  """A finished search: the method's parts and their final state."""

  parts: Parts
  state: SearchState


class Given(NamedTuple):
  """Objects that a caller gives in place of what the config names.

  table: a latency table of the device, in place of latency.table.
  data: arrays, in place of data.name.
  command: how the run was started, for its records.
  """

  table: LatencyTable | None = None
  data: Data | None = None
  command: str = ""


def run(
  config: AnyConfig, workdir: str | pathlib.Path, given: Given
) -> RunFolder:
  """Runs or resumes every stage; returns the run's folder.

  Raises:
    ValueError: the config, the table or the run folder is wrong.
    FileNotFoundError: the data set is absent.
    io.loop.Stopped: asked to stop; the same call resumes.
  """
  fields = typed(config)
  if given.data is not None:
    named = msgspec.structs.replace(fields.data, name=ARRAYS)
    fields = msgspec.structs.replace(fields, data=named)
  fields = problems.resolve(fields)
  if given.data is None:
    data_load.require(fields.data.name, fields.data.data_dir or None)
  dataset = given.data.dataset() if given.data else None
  nets = problems.make_nets(fields, dataset)
  table = given.table
  if table is None and fields.latency.table:
    table = LatencyTable.load(fields.latency.table)
  if table is not None or fields.cost.name != "latency":
    # Checked before the folder is made: a folder begun with a wrong config or
    # table would refuse the right one.
    problems.make(fields, nets, table)
  folder = RunFolder.at(workdir)
  dataset = dataset or load_dataset(fields)
  begin(folder, fields, given.command, dataset)
  return _run(fields, nets, table, dataset, folder)


def _run(
  config: Config,
  nets: Nets,
  given_table: LatencyTable | None,
  dataset: Dataset,
  folder: RunFolder,
) -> RunFolder:
  table = _table(config, folder, nets.derived, given_table)
  problem = problems.make(
    config, nets, table, _predictor(config, folder, nets.derived, table)
  )
  if table and config.cost.name == "latency":
    print(problem.reach())
  searched = search(problem, folder, dataset)
  if folder.family() is None:
    folder.write_family(_family(problem, folder, dataset, searched))
  write_report(folder)
  return folder


def _family(
  problem: Problem, folder: RunFolder, dataset: Dataset, searched: Searched
) -> Family:
  """Derives, trains and measures the networks of a search."""
  config, nets, table = problem.config, problem.nets, problem.table
  swept = derive(problem, searched)
  points = _with_collapse(problem, searched, dataset, swept)
  genotypes = [network.genotype for network in swept.networks]
  trained = training.train(config, folder, dataset, nets.derived, genotypes)
  base_ms = tables.base_ms(table, nets.derived.space()) if table else None
  return Family(
    ops=tuple(nets.supernet.ops),
    choices=tuple(nets.supernet.space().choices),
    latency_batch_size=config.latency.batch_size,
    base_latency_ms=base_ms,
    priced=tuple(nets.supernet.ops[column] for column in problem.columns),
    members=members.describe(problem, swept.networks, trained),
    sweep=points,
    shares=tuple(swept.shares),
  )


def load_dataset(config: Config) -> Dataset:
  """The data set that a config names; see `data.load` for errors."""
  return data_load.load(config.data.name, config.data.data_dir or None)


def begin(
  folder: RunFolder, config: Config, command: str, dataset: Dataset
) -> None:
  """Writes the config to the run folder, with command, data and versions.

  Raises:
    ValueError: the folder is of another config (the message names the fields
      that differ) or of other data.
  """
  fields = records.to_json(config)
  if folder.exists():
    before = tree.flatten(folder.settings().config)
    now = tree.flatten(fields)
    names = sorted(set(before) | set(now))
    differing = [n for n in names if before.get(n) != now.get(n)]
    if differing:
      raise ValueError(
        f"{folder.path} holds a run of another config: {', '.join(differing)}"
        " differ. Use another --workdir, or delete the folder."
      )
    require_data(folder, dataset)
    if folder.family() is not None:
      return  # a finished run keeps its command and versions
  folder.write_settings(
    records.Settings(2, fields, command, dataset.digest),
    versions.made_with(),
  )


def require_data(folder: RunFolder, dataset: Dataset) -> None:
  """Raises ValueError where a run began with other data."""
  if folder.settings().data not in ("", dataset.digest):
    raise ValueError(
      f"the run in {folder.path} began with other data than the given"
      f" {dataset.name}: give the same data, or use another --workdir"
    )


def _table(
  config: Config,
  folder: RunFolder,
  derived: Spec,
  given: LatencyTable | None,
) -> LatencyTable | None:
  """The given table, or one measured here; None if the cost reads none.

  Raises:
    ValueError: the run began with another table.
  """
  part = config.latency
  if given is not None:
    _require_same(folder, given)
    given.save(folder.table)
    return given
  if config.cost.name != "latency":
    return None
  table = sites.profile_space(
    derived.space(), part.batch_size, folder.table, part.repeats
  )
  if not part.calibration_networks:
    return table
  measured = _measured(config, folder, derived, table)
  table = networks.calibrated(
    derived, table, measured, part.calibration_networks
  )
  table.save(folder.table)
  return table


def _require_same(folder: RunFolder, given: LatencyTable) -> None:
  """Refuses another table than the one that a run began with."""
  if not folder.table.exists():
    return
  before = LatencyTable.read(folder.table)
  if before.finished and tables.costs(before) != tables.costs(given):
    raise ValueError(
      f"the run in {folder.path} began with another latency table: use another"
      " --workdir, or delete the folder"
    )


def _measured(
  config: Config, folder: RunFolder, derived: Spec, table: LatencyTable
) -> networks.Measured:
  """The networks that calibrate a table, or train a predictor over it."""
  part = config.latency
  return networks.profile_chosen(
    derived,
    table,
    folder.table,
    problems.rule_of(config),
    part.calibration_networks,
    part.repeats,
  )


def _predictor(
  config: Config, folder: RunFolder, derived: Spec, table: LatencyTable | None
) -> Predictor | None:
  """The predictor of cost.predictor, which names a kind or a file.

  A predictor of a kind (`mlp`, `graph`) is trained here, once a run.

  Raises:
    FileNotFoundError, ValueError: see `predictor.load`.
  """
  kind = config.cost.predictor
  if not kind or table is None:
    return None
  if kind not in fit.NETWORKS:
    return predictor.load(kind)
  if not folder.predictor.exists():
    measured = _measured(config, folder, derived, table)
    trained = fit.train_on(
      kind,
      derived,
      tables.raw_costs(table),
      measured,
    )
    predictor.save(folder.predictor, trained)
    held = trained.held_out
    print(
      f"predictor {kind}: mean error {float(held.mean):.1%} on held-out"
      f" networks; the table alone has {float(held.table_mean):.1%}"
    )
  return predictor.load(folder.predictor)


def search(problem: Problem, folder: RunFolder, dataset: Dataset) -> Searched:
  """Runs or resumes the search.

  Raises:
    io.loop.Stopped: asked to stop; everything done is saved.
  """
  config = problem.config
  parts, settings = method.make_parts(problem, dataset)
  data, split_digest = method.make_search_data(config, dataset)
  init, steps = method.make_search(config, parts, settings)
  cost = "expected_latency_ms" if config.cost.name == "latency" else "cost"

  def dispatch(state: SearchState) -> tuple[SearchState, dict[str, Any]]:
    state, metrics = steps(state, data, problem.costs)
    metrics[cost] = metrics.pop("expected_cost")
    return state, metrics

  job = loop.Job(
    num_steps=config.search.num_steps,
    checkpoint_every=config.search.checkpoint_every,
    directory=folder.search,
    label="search",
    identity=loop.Identity(
      data=dataset.digest,
      split=split_digest,
      table=tree.digest(problem.costs),
    ),
    tensorboard=config.tensorboard,
  )
  key = stream(config.seed, "search")
  state = loop.finished(job, jax.eval_shape(init, key))
  if state is None:
    state = loop.run(job, dispatch, init(key))
  return Searched(parts, state)


class Swept(NamedTuple):
  """What is derived from a search.

  networks: to train: the family, then random architectures, all different.
  points: each condition of the sweep, with the id of its network.
  shares: the mean distribution over operations at many conditions.
  """

  networks: list[Derived]
  points: list[SweepPoint]
  shares: list[Shares]


def derive(problem: Problem, searched: Searched) -> Swept:
  """Derives the family of a search, and draws random architectures."""
  config, space = problem.config, problem.nets.supernet.space()
  logits_at = functools.partial(
    sweep.logits_of,
    searched.parts.controller,
    searched.parts.conditions,
    searched.state.controller,
  )
  points = list(problem.points)
  conditions = [point.condition for point in points]
  logits = logits_at(conditions)
  if config.derive.num_samples:
    points, logits = families.sampled(
      points[0], logits[0], config.derive.num_samples, config.seed
    )
  networks, swept = families.derive(space, problem.rule, points, logits)
  networks += families.random_networks(
    space, config.derive.rule, networks, config.derive.num_random, config.seed
  )
  conditions = [point.condition for point in points]
  middle = conditions[len(conditions) // 2].scale
  conditions += sweep.simplex_grid(len(problem.columns), middle, TERNARY_SIDE)
  shares = [
    sweep.shares(condition, rows, space.ops)
    for condition, rows in zip(conditions, logits_at(conditions), strict=True)
  ]
  return Swept(networks, swept, shares)


def _with_collapse(
  problem: Problem, searched: Searched, dataset: Dataset, swept: Swept
) -> tuple[SweepPoint, ...]:
  """The points of a sweep with their signs of collapse; prints the alarms."""
  parts, space = searched.parts, problem.nets.supernet.space()
  genotypes = {
    architecture.identity(space, network.genotype): network.genotype
    for network in swept.networks
  }
  conditions = [point.condition for point in swept.points]
  images, labels = method.held_out(problem.config, dataset, HELD_OUT)
  signs = collapse.signs(
    SharedWeights(
      parts.net, searched.state.weights, images, labels, parts.fold
    ),
    jax.vmap(parts.conditions.features)(sweep.stack(conditions)),
    sweep.logits_of(
      parts.controller,
      parts.conditions,
      searched.state.controller,
      conditions,
    ),
    [genotypes[point.id] for point in swept.points],
    parts.skip,
    paths=method.paths_of(problem.config),
  )
  for point, collapsed in zip(swept.points, signs, strict=True):
    for alarm in collapsed.alarms:
      print(f"{point.name}: {alarm}")
  return tuple(
    msgspec.structs.replace(point, collapse=collapsed)
    for point, collapsed in zip(swept.points, signs, strict=True)
  )
