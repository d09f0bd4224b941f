"""The main job: table, search, networks, training, measurement, report.

Every stage leaves its result in the run folder (`io.run_folder`) and is
skipped when it is there, so a killed run goes on where it was.
"""

import functools
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import msgspec

from hwnas_jax.config import method, problem as problems
from hwnas_jax.config.fields import Config
from hwnas_jax.config.load import AnyConfig, typed
from hwnas_jax.config.problem import Nets, Problem
from hwnas_jax.core import tree
from hwnas_jax.core.rng import stream
from hwnas_jax.core.types import Genotype
from hwnas_jax.costs import counts, table as tables
from hwnas_jax.costs.measure import networks, sites, timing
from hwnas_jax.costs.predict import fit, predictor
from hwnas_jax.costs.predict.predictor import Predictor
from hwnas_jax.costs.table import LatencyTable
from hwnas_jax.data import load as data_load
from hwnas_jax.data.arrays import Dataset
from hwnas_jax.data.user import NAME as ARRAYS
from hwnas_jax.data.user import Data
from hwnas_jax.derive import collapse, sweep
from hwnas_jax.derive.collapse import SharedWeights
from hwnas_jax.derive.sweep import Derived
from hwnas_jax.io import loop, records, versions
from hwnas_jax.io.records import Accuracies, Family, Member, SweepPoint
from hwnas_jax.io.run_folder import RunFolder
from hwnas_jax.method.state import SearchState
from hwnas_jax.method.step import Parts
from hwnas_jax.report.html import write_report
from hwnas_jax.runs import training
from hwnas_jax.spaces import architecture
from hwnas_jax.spaces.spec import Spec

HELD_OUT = 512  # examples that show whether the search has collapsed
TERNARY_SIDE = 12  # points along a side of the report's ternary map


class Searched(NamedTuple):
  """A finished search: the method's parts and their final state."""

  parts: Parts
  state: SearchState


class Given(NamedTuple):
  """What a caller has at hand, in place of what the config names.

  table: the device's, in place of latency.table.
  data: arrays, in place of data.name.
  command: how the run was started, for its records.
  """

  table: LatencyTable | None = None
  data: Data | None = None
  command: str = ""


def run(
  config: AnyConfig, workdir: str | pathlib.Path, given: Given = Given()
) -> RunFolder:
  """Runs or resumes everything; returns the run's folder.

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
    table = tables.load(fields.latency.table)
  if table is not None and fields.cost.name == "latency":
    # A table that does not fit leaves no folder in which a better one would
    # be refused.
    problems.make(fields, nets, table)
  folder = RunFolder.at(workdir)
  begin(folder, fields, given.command)
  dataset = dataset or load_dataset(fields)
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
  if table:
    print(problem.reach())
  searched = search(problem, folder, dataset)
  derived = _derive(problem, searched)
  points = _with_collapse(problem, searched, dataset, derived)
  genotypes = [network.genotype for network in derived.networks]
  trained = training.train(config, folder, dataset, nets.derived, genotypes)
  space = nets.supernet
  folder.write_family(
    Family(
      ops=tuple(space.ops),
      choices=tuple(space.space().choices),
      latency_batch_size=config.latency.batch_size,
      base_latency_ms=tables.base_ms(table, nets.derived.space())
      if table
      else None,
      priced=tuple(space.ops[column] for column in problem.columns),
      members=_members(problem, derived, trained),
      sweep=points,
      shares=derived.shares,
    )
  )
  write_report(folder)
  return folder


def load_dataset(config: Config) -> Dataset:
  """The data set that a config names; see `data.load` for errors."""
  return data_load.load(config.data.name, config.data.data_dir or None)


def begin(folder: RunFolder, config: Config, command: str) -> None:
  """Writes what runs; refuses a folder of another config.

  Raises:
    ValueError: the message names the fields that differ.
  """
  fields = records.to_json(config)
  if folder.exists():
    before = tree.flatten(folder.settings().config)
    now = tree.flatten(fields)
    names = sorted(set(before) | set(now))
    differing = [n for n in names if before.get(n) != now.get(n)]
    if differing:
      raise ValueError(
        f"{folder.path} is of another config: {', '.join(differing)} differ."
        " Use another --workdir, or delete it."
      )
  folder.write_settings(
    records.Settings(schema=2, config=fields, command=command),
    versions.made_with(),
  )


def _table(
  config: Config,
  folder: RunFolder,
  derived: Spec,
  given: LatencyTable | None,
) -> LatencyTable | None:
  """The given table, or one measured here; None where nothing reads it."""
  part = config.latency
  if given is not None:
    tables.save(folder.table, given)
    return given if config.cost.name == "latency" else None
  if config.cost.name != "latency":
    return None
  table = sites.profile_space(
    derived.space(), part.batch_size, folder.table, part.repeats
  )
  if not part.calibration_networks:
    return table
  measured = _measured(config, folder, derived, table)
  table, _ = networks.calibrated(
    derived, table, measured, part.calibration_networks
  )
  tables.save(folder.table, table)
  return table


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
  """What cost.predictor names: trained here where it is a kind.

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
      measured.genotypes,
      measured.latencies_ms,
    )
    predictor.save(folder.predictor, trained)
    held = trained.held_out
    print(
      f"{kind}: mean error {float(held.mean):.1%} held out, its table"
      f" {float(held.table_mean):.1%}"
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
    identity={
      "split": split_digest,
      "data": dataset.digest,
      "table": tree.digest(problem.costs),
    },
    tensorboard=config.tensorboard,
  )
  return Searched(
    parts, loop.run(job, dispatch, init(stream(config.seed, "search")))
  )


def _derive(problem: Problem, searched: Searched) -> Derived:
  """The networks to train, what each condition gives, and shares for a map."""
  config = problem.config
  logits_at = functools.partial(
    sweep.logits_of,
    searched.parts.controller,
    problem.conditions,
    searched.state.controller,
  )
  return sweep.derive(
    problem.nets.supernet.space(),
    problem.rule,
    problem.points,
    logits_at,
    sweep.Choices(
      rule_name=config.derive.rule,
      num_samples=config.derive.num_samples,
      num_random=config.derive.num_random,
      seed=config.seed,
      ternary_side=TERNARY_SIDE,
    ),
  )


def _with_collapse(
  problem: Problem, searched: Searched, dataset: Dataset, derived: Derived
) -> tuple[SweepPoint, ...]:
  """Adds the signs of a collapse to each point, and prints the alarms."""
  parts = searched.parts
  conditions = [point.condition for point in derived.sweep]
  features = jax.vmap(parts.conditions.features)(
    sweep.conditions_of(conditions)
  )
  shared = SharedWeights(
    parts.net,
    parts.fold,
    searched.state.weights,
    *method.held_out(problem.config, dataset, HELD_OUT),
  )
  signs = collapse.signs(
    shared,
    features,
    derived.logits,
    derived.genotypes,
    parts.skip,
    paths=method.paths_of(problem.config),
  )
  points = []
  for point, collapsed in zip(derived.sweep, signs, strict=True):
    points.append(SweepPoint(point.name, point.condition, point.id, collapsed))
    for alarm in collapsed.alarms:
      print(f"{point.name}: {alarm}")
  return tuple(points)


def _members(
  problem: Problem, derived: Derived, trained: Sequence[Accuracies]
) -> tuple[Member, ...]:
  """Measures all networks, interleaved, and describes each."""
  net, part = problem.nets.derived, problem.config.latency
  space = net.space()
  ids = [architecture.identity(space, n.genotype) for n in derived.networks]
  genotypes = {
    name: network.genotype
    for name, network in zip(ids, derived.networks, strict=True)
  }
  compiled = timing.compile_networks(net, genotypes, part.batch_size)
  measured = timing.measure_networks(compiled, part.repeats)
  best = _best_sample(trained, derived)
  return tuple(
    Member(
      id=name,
      name=network.name + (", kept" if index == best else ""),
      kind="random" if network.condition is None else "member",
      condition=network.condition,
      architecture=architecture.to_json(space, network.genotype),
      **_counts(net, network.genotype),
      latency=measured[name],
      predicted_ms=tables.predict_ms(problem.table, net, network.genotype)
      if problem.table
      else None,
      accuracies=accuracies,
      kept=index == best,
    )
    for index, (name, network, accuracies) in enumerate(
      zip(ids, derived.networks, trained, strict=True)
    )
  )


def _counts(net: Spec, genotype: Genotype) -> dict[str, int]:
  """Parameters, those of the searched operations, multiply-accumulates."""
  space = net.space()
  cost = functools.partial(counts.genotype_cost, net, genotype)
  searched = counts.site_costs(space, counts.search_params)
  return {
    "params": int(cost(counts.site_costs(space, counts.params))),
    "op_params": int(cost(searched) - space.base_cost(searched)),
    "macs": int(cost(counts.site_costs(space, counts.macs))),
  }


def _best_sample(trained: Sequence[Accuracies], derived: Derived) -> int | None:
  """The sample that is kept: FBNet's "train k, keep the best".

  Wu et al. 2019, FBNet, section 4. None where nothing was held out.
  """
  held_out = {
    index: accuracies.held_out_accuracy
    for index, (network, accuracies) in enumerate(
      zip(derived.networks, trained, strict=True)
    )
    if network.condition is not None
    and accuracies.held_out_accuracy is not None
  }
  if not held_out:
    return None
  best = max(held_out, key=lambda index: float(held_out[index]))
  print(f"kept {derived.networks[best].name}: {held_out[best]:.1%} held out")
  return best
