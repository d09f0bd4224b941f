"""The main job: table, search, networks, training, measurement, report.

Where there are several processes, one does all of it, and the others join its
search and trainings.

Every stage writes its result to the run folder (`io.run_folder`). A stage whose
result is there is skipped, so a run that was killed goes on where it was.
"""

import pathlib
from typing import NamedTuple

import msgspec

from hwnas_jax.config import data_checks, streaming
from hwnas_jax.config import problem as problems
from hwnas_jax.config.fields import Config
from hwnas_jax.config.files import AnyConfig, typed
from hwnas_jax.config.problem import Nets, Problem
from hwnas_jax.core import devices, hosts
from hwnas_jax.costs import table as tables
from hwnas_jax.costs.measure import convertible, networks, sites
from hwnas_jax.costs.predict import fit, predictor
from hwnas_jax.costs.predict.predictor import Predictor
from hwnas_jax.costs.table import LatencyTable
from hwnas_jax.data import load as data_load
from hwnas_jax.data.arrays import Dataset
from hwnas_jax.data.user import NAME as ARRAYS
from hwnas_jax.data.user import Data
from hwnas_jax.io import lock, paths, records, versions
from hwnas_jax.io.run_folder import RunFolder
from hwnas_jax.runs import members, profile, stages, together
from hwnas_jax.spaces.spec import Spec


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
  devices.require(fields.devices)
  together.require(fields)
  if given.data is None:
    data_load.require(fields.data.name, fields.data.data_dir or None)
  folder = RunFolder.at(workdir)
  paths.require_folder(folder.path)
  dataset = given.data.dataset() if given.data else None
  nets = problems.make_nets(fields, dataset)
  if gaps := convertible.sentence(nets.derived.space()):
    print(f"{gaps}. Its networks can be exported as StableHLO alone.")
  table = given.table
  if table is None and fields.latency.table:
    table = LatencyTable.load(fields.latency.table)
  if table is not None or fields.cost.name != "latency":
    # Checked before the folder is made: a folder begun with a wrong config or
    # table would refuse the right one.
    problems.make(fields, nets, table, _given_predictor(fields))
  dataset = dataset or load_dataset(fields)
  data_checks.require(fields, dataset)
  print(streaming.place(dataset))
  if table is None:
    profile.require_networks(
      fields, nets.derived, fields.latency.calibration_networks
    )
  hosts.wait()
  if not hosts.leads():
    together.follow(lambda: _seen(fields, nets, table, folder), folder, dataset)
    return folder
  with together.leading():
    _require_table(folder, fields, table)
    with lock.alone(folder.path):
      begin(folder, fields, given.command, dataset, nets)
      return _run(fields, nets, table, dataset, folder)


def _seen(
  config: Config, nets: Nets, table: LatencyTable | None, folder: RunFolder
) -> Problem:
  """A follower's problem, by what the leader wrote into the folder."""
  if table is None and config.cost.name == "latency":
    table = LatencyTable.read(folder.table)
  found = _predictor(config, folder, nets.derived, table)
  return problems.make(config, nets, table, found)


def _run(
  config: Config,
  nets: Nets,
  given_table: LatencyTable | None,
  dataset: Dataset,
  folder: RunFolder,
) -> RunFolder:
  from hwnas_jax.report.html import write_report  # imports matplotlib

  table = _table(config, folder, nets.derived, given_table)
  problem = problems.make(
    config, nets, table, _predictor(config, folder, nets.derived, table)
  )
  if table and config.cost.name == "latency":
    print(problem.reach())
  searched = together.search(problem, folder, dataset)
  family = folder.family()
  if family is None:
    family = members.make_family(problem, folder, dataset, searched)
    folder.write_family(family)
  else:
    members.restore(problem, folder, dataset, searched)
  write_report(folder)
  return folder


def load_dataset(config: Config) -> Dataset:
  """The data set that a config names; see `data.load` for errors."""
  part = config.data
  return data_load.load(
    part.name, part.data_dir or None, part.resize, streaming.streaming(config)
  )


def begin(
  folder: RunFolder, config: Config, command: str, dataset: Dataset, nets: Nets
) -> None:
  """Writes config.json, with command and origin, and versions.json.

  A finished run keeps its command and versions.

  Args:
    folder: the run's.
    config: the run's, checked.
    command: how the run was started.
    dataset: the run's.
    nets: of `problems.make_nets`.

  Raises:
    ValueError: the folder has something of another run; nothing was written.
  """
  stages.require_same(folder, config, dataset, nets)
  if folder.exists() and folder.family() is not None:
    return
  fields, origin = records.to_json(config), stages.origin(dataset, nets)
  folder.write_settings(
    records.Settings(2, fields, command, origin), versions.made_with()
  )


def _require_table(
  folder: RunFolder, config: Config, given: LatencyTable | None
) -> None:
  """Refuses a folder whose table is lost, or of another device.

  Raises:
    ValueError: the message says what to do.
  """
  if config.cost.name != "latency" or given is not None:
    return
  if folder.table.exists():
    table = LatencyTable.read(folder.table)
    here = versions.fingerprint_id(versions.device_fingerprint())
    if table.fingerprint != here:
      raise ValueError(
        f"the run in {folder.path} measured its table on {table.fingerprint},"
        f" and this is {here}: go on there, or use another --workdir"
      )
  elif stages.begun(folder, "search"):
    raise ValueError(
      f"{folder.table} is missing, and the search was priced with it: restore"
      " it, or give a copy by --config.latency.table"
    )


def _table(
  config: Config,
  folder: RunFolder,
  derived: Spec,
  given: LatencyTable | None,
) -> LatencyTable | None:
  """The given table, or one measured here; None if the cost reads none.

  A table that is calibrated, or that a search was priced with, stays as it is.

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
    derived.space(),
    part.batch_size,
    folder.table,
    part.repeats,
    dtype=config.precision,
  )
  priced = bool(table.calibration) or stages.begun(folder, "search")
  if priced or not part.calibration_networks:
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


def _given_predictor(config: Config) -> Predictor | None:
  """The predictor of a file that cost.predictor names; None if it names none.

  Raises:
    FileNotFoundError, ValueError: see `predictor.load`.
  """
  name = config.cost.predictor
  if not name or name in fit.NETWORKS:
    return None
  return predictor.load(name)


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
    return _given_predictor(config)
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
