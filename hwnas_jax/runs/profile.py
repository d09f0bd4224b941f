"""Makes latency tables: measured here, by a plan elsewhere, or transferred.

A table is calibrated on some whole networks, and its error is measured on
others. After a stop the same call goes on where it was.
"""

import dataclasses
import pathlib
from collections.abc import Sequence

import jax
import numpy as np

from hwnas_jax.config import problem as problems
from hwnas_jax.config.fields import Config
from hwnas_jax.config.files import AnyConfig
from hwnas_jax.costs import counts
from hwnas_jax.costs import table as tables
from hwnas_jax.costs.correct import calibration
from hwnas_jax.costs.correct import transfer as transfers
from hwnas_jax.costs.correct.regression import Error
from hwnas_jax.costs.measure import convertible, plan, plan_result
from hwnas_jax.costs.measure import networks as measuring
from hwnas_jax.costs.measure.sites import REPEATS, profile_space
from hwnas_jax.costs.predict import predictor
from hwnas_jax.costs.predict.fit import MIN_SAMPLES
from hwnas_jax.costs.predict.nets import NETWORKS
from hwnas_jax.costs.table import LatencyTable
from hwnas_jax.derive import reach
from hwnas_jax.io import paths, versions
from hwnas_jax.spaces.spec import Spec


@dataclasses.dataclass(frozen=True)
class Effort:
  """How much is measured.

  repeats: samples of each operation and network.
  networks: whole networks that calibrate the table, 0 or at least 3.
  held_out: more networks, on which the table's error is measured.
  """

  repeats: int = REPEATS
  networks: int = 20
  held_out: int = 10

  def __post_init__(self) -> None:
    """Raises ValueError where a number is out of range."""
    if self.repeats < 3 or self.held_out < 0:
      raise ValueError("repeats must be 3 or more, held_out 0 or more")
    if self.networks < 0 or 0 < self.networks < 3:
      raise ValueError("networks must be 0, or at least 3")


def use_backend(name: str) -> None:
  """Makes `name` (cpu, gpu or tpu) JAX's default backend.

  Call it before anything else uses JAX.

  Raises:
    ValueError: JAX has no such backend here; the message names the one it has.
  """
  if name == "cpu":
    # On a machine with a GPU, that would stay the default.
    jax.config.update("jax_platforms", "cpu")
  try:
    backend = jax.default_backend()
  except (RuntimeError, AssertionError) as error:
    raise ValueError(f"JAX has no usable backend: {error}") from error
  if backend != name:
    raise ValueError(
      f"JAX finds no {name} here, but {backend}"
      f" ({jax.devices()[0].device_kind}): measure with --backend={backend}, or"
      f" install JAX for {name} and check that JAX_PLATFORMS allows it"
    )


def profile(
  config: AnyConfig,
  *,
  out: str | pathlib.Path | None = None,
  networks: int = 20,
  held_out: int = 10,
  repeats: int = REPEATS,
  transfer: Sequence[LatencyTable] = (),
) -> LatencyTable:
  """Measures the latency table of a config's space on this device.

  >>> table = hw.profile(config, networks=3, held_out=1)
  >>> table.device.platform, table.unit
  ('cpu', 'ms')

  Args:
    config: of `load_config`.
    out: where the table is kept while it is measured; a stopped measurement
      goes on from there. None is tables/<device>.json.
    networks: whole networks that calibrate the table, 0 or at least 3.
    held_out: more networks, on which the table's error is measured.
    repeats: samples of each operation and network.
    transfer: finished tables of other devices. With them only whole networks
      are measured here, 10 suffice: the first table is transferred to this
      device by them, and further tables show how devices differ
      (docs/latency.md#transfer).

  Returns:
    The table; `table.errors` has its errors on the held-out networks.

  Raises:
    ValueError: the config is wrong, `out` is the table of another device, or
      with `transfer` `out` exists or `networks` is 0.
  """
  effort = Effort(repeats, networks, held_out)
  return measure(problems.resolve(config), effort, out, transfer)


def measure(
  config: Config,
  effort: Effort,
  out: str | pathlib.Path | None,
  others: Sequence[LatencyTable] = (),
) -> LatencyTable:
  """Measures and calibrates the table of this device; see `profile`.

  Args:
    config: checked.
    effort: how much is measured.
    out: see `profile`.
    others: see `profile`.
  """
  _require_measured(others, effort.networks)
  net = problems.make_nets(config).derived
  if gaps := convertible.sentence(net.space()):
    print(f"{gaps}. A plan of it (--plan) cannot be written.")
  device = versions.device_fingerprint()
  path = out_path(out, fingerprint())
  paths.require_file(path)
  require_sites(others, config, net)
  if effort.networks:
    require_networks(config, net, effort.networks + effort.held_out)
  if others:
    refuse_existing(path)
    table = transfers.move(others[0], device)
  else:
    table = profile_space(
      net.space(),
      config.latency.batch_size,
      path,
      effort.repeats,
      dtype=config.precision,
    )
  if not effort.networks:
    return table
  measured = _measured(config, net, table, path, effort)
  table = measuring.calibrated(
    net, table, measured, effort.networks, transfers.calibrator(others)
  )
  table.save(path)
  return table


def _measured(
  config: Config,
  net: Spec,
  table: LatencyTable,
  path: pathlib.Path,
  effort: Effort,
) -> measuring.Measured:
  """The networks of an effort, measured; stored ones are not measured again."""
  return measuring.profile_chosen(
    net,
    table,
    path,
    problems.rule_of(config),
    effort.networks + effort.held_out,
    effort.repeats,
  )


def train_predictor(
  config: AnyConfig,
  table: LatencyTable,
  path: str | pathlib.Path,
  kind: str,
  effort: Effort,
) -> Error:
  """Trains a predictor on the networks that calibrated a table.

  Args:
    config: of `load_config`.
    table: of `profile`, kept at `path`.
    path: the table's file. The predictor is written beside it, with the suffix
      .predictor.npz in place of .json.
    kind: `mlp` (LA-DARTS) or `graph` (SurgeNAS); docs/latency.md#predictors.
    effort: the one that the table was made with.

  Returns:
    Its error on the held-out networks, to be compared with `table.errors`.

  Raises:
    ValueError: too few networks, none held out, or derive.rule=top_k.
  """
  fields = problems.resolve(config)
  require_predictor(fields, kind, effort)
  net, path = problems.make_nets(fields).derived, paths.expand(path)
  measured = _measured(fields, net, table, path, effort)
  trained, error = measuring.train_predictor(
    kind, net, table, measured, effort.networks
  )
  predictor.save(path.with_suffix(".predictor.npz"), trained)
  return error


def require_predictor(config: Config, kind: str | None, effort: Effort) -> None:
  """Raises ValueError if a predictor of this kind cannot be trained."""
  if not kind:
    return
  if kind not in NETWORKS:
    raise ValueError(
      f"there is no predictor {kind!r}: give {' or '.join(NETWORKS)}"
    )
  if config.derive.rule == "top_k":
    raise ValueError(
      "a predictor reads an operation at every choice, and derive.rule=top_k"
      " drops some choices: give a config with derive.rule=argmax"
    )
  if effort.networks < MIN_SAMPLES or not effort.held_out:
    raise ValueError(
      f"a predictor needs --networks={MIN_SAMPLES} or more, and --held_out=1 or"
      " more"
    )


def write_plan(
  config: AnyConfig,
  folder: str | pathlib.Path,
  networks: int = 20,
  others: Sequence[LatencyTable] = (),
) -> int:
  """Writes a plan: what to measure on a device that cannot run JAX.

  Args:
    config: of `load_config`.
    folder: a new folder for the ONNX files, plan.json and runner.py.
    networks: the number of whole networks in the plan.
    others: as `transfer` of `profile`; with them the plan has only networks.

  Returns:
    The number of entries that the runner measures.
  """
  fields = problems.resolve(config)
  if fields.precision != "float32":
    raise ValueError(
      "the programs of a plan are float32: set precision=float32, or profile"
      " where JAX runs"
    )
  _require_measured(others, networks)
  paths.require_folder(paths.expand(folder))
  net = problems.make_nets(fields).derived
  require_sites(others, fields, net)
  if others:
    costs = tables.costs(others[0])
  else:
    # There is no table yet, so multiply-accumulates stand in for latency: the
    # networks are chosen at even steps of them.
    costs = counts.site_costs(net.space(), counts.macs)
  rng = np.random.default_rng(measuring.SEED)
  chosen = (
    calibration.choose(net, costs, problems.rule_of(fields), rng, networks)
    if networks
    else []
  )
  document = plan.write(
    folder, net, fields.latency.batch_size, chosen, sites=not others
  )
  return len(document.entries)


def fit_plan(
  config: AnyConfig,
  folder: str | pathlib.Path,
  out: str | pathlib.Path | None = None,
  others: Sequence[LatencyTable] = (),
) -> tuple[LatencyTable, pathlib.Path]:
  """Makes the latency table of a plan that was measured.

  Args:
    config: of `load_config`; the one of `write_plan`.
    folder: the plan's folder, with timings.json in it.
    out: a new file; None is tables/<device>.json.
    others: as `transfer` of `profile`.

  Returns:
    (the table, its file).

  Raises:
    ValueError: timings.json is not of this plan, or `out` exists.
  """
  fields = problems.resolve(config)
  if out:
    paths.require_file(out_path(out, ""))
  net = problems.make_nets(fields).derived
  require_sites(others, fields, net)
  fitted = plan_result.fit(folder, net)
  table = fitted.table
  _require_measured(others, len(fitted.measured.genotypes))
  if others:
    table = transfers.move(others[0], table.device)
  tables.require(table, net.space(), table.batch_size, dtype=fields.precision)
  measured = fitted.measured
  if measured.genotypes:
    table = measuring.calibrated(
      net,
      table,
      measured,
      len(measured.genotypes),
      transfers.calibrator(others),
    )
  path = out_path(out, table.fingerprint)
  refuse_existing(path)
  table.save(path)
  return table, path


def fingerprint() -> str:
  """The name of this device, as a table measured here has it."""
  return versions.fingerprint_id(versions.device_fingerprint())


def out_path(out: str | pathlib.Path | None, fingerprint: str) -> pathlib.Path:
  """Where a table goes: `out`, or tables/<device>.json."""
  return paths.expand(out or f"tables/{fingerprint}.json")


def require_networks(config: Config, net: Spec, count: int) -> None:
  """Raises ValueError if a space has fewer networks than will be measured.

  Only a small space is looked at; the draw is that of the measurement.
  """
  size = reach.log10_size(net.space(), config.derive.rule)
  if count and size < np.log10(10 * count):
    costs = counts.site_costs(net.space(), counts.macs)
    rng = np.random.default_rng(measuring.SEED)
    rule = problems.rule_of(config)
    calibration.choose(net, costs, rule, rng, count)


def refuse_existing(path: pathlib.Path) -> None:
  """Raises ValueError if the file exists."""
  if path.exists():
    raise ValueError(f"{path} exists: delete it, or give another --out")


def _require_measured(others: Sequence[LatencyTable], networks: int) -> None:
  """Raises ValueError if nothing but another device's table says how fast.

  Such a table would have that device's latencies and this one's name.
  """
  if others and not networks:
    raise ValueError(
      "a transferred table needs networks measured on its device: give"
      " networks=10 or more"
    )


def require_sites(
  others: Sequence[LatencyTable], config: Config, net: Spec
) -> None:
  """Raises ValueError unless each table has all sites of the space."""
  for table in others:
    tables.require(
      table,
      net.space(),
      config.latency.batch_size,
      dtype=config.precision,
    )
