"""Measures the latency table of a search space, here or elsewhere.

  python -m hwnas_jax.profile --backend=cpu --config=cifar

writes tables/<device>.json (its fields are in costs/table.py), calibrated on
some whole networks, and prints its errors on others. After a stop the same
command goes on where it was. For a device that cannot run JAX:

  python -m hwnas_jax.profile --config=... --plan=DIR     (here)
  python runner.py                                        (there, in DIR)
  python -m hwnas_jax.profile --config=... --fit=DIR --out=table.json   (here)

With --transfer=TABLE, the latency table of another device, only whole networks
are measured (--networks=10 suffices), here or by a plan
(docs/latency.md#transfer).
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from absl import app, flags

if TYPE_CHECKING:
  from hwnas_jax.config.fields import Config
  from hwnas_jax.costs.correct.regression import Error
  from hwnas_jax.costs.table import LatencyTable

flags.disclaim_key_flags()


def define_flags() -> None:
  """Defines the command's flags; call it once a process."""
  flags.DEFINE_enum(
    "backend",
    None,
    ["cpu", "gpu", "tpu"],
    "what to measure on; by default JAX's default backend",
  )
  flags.DEFINE_string(
    "config",
    "cifar",
    "config with the search space: NAME or FILE.py, then [:variant]",
  )
  flags.DEFINE_string(
    "out", None, "file of the table; by default tables/<device>.json"
  )
  flags.DEFINE_integer(
    "repeats", 20, "samples of each site and network", lower_bound=3
  )
  flags.DEFINE_integer(
    "networks",
    20,
    "whole networks to calibrate on, at least 3; 0: no calibration",
    lower_bound=0,
  )
  flags.DEFINE_integer(
    "held_out",
    10,
    "more networks, on which the table's error is measured",
    lower_bound=0,
  )
  flags.DEFINE_string(
    "plan",
    None,
    "new folder: writes there what to measure on another device, and measures"
    " nothing",
  )
  flags.DEFINE_string(
    "fit",
    None,
    "folder of a plan with timings.json: makes the table of that device",
  )
  flags.DEFINE_multi_string(
    "transfer",
    [],
    "table of another device, which a few measured networks turn into this"
    " device's; give it again for more tables, which show how devices differ",
  )
  flags.DEFINE_enum(
    "predictor",
    None,
    ["mlp", "graph"],
    "also trains a predictor of this kind on the networks; it is written beside"
    " the table, as <table>.predictor.npz",
  )


def main(argv: Sequence[str]) -> None:
  """Measures the space of --config, writes a plan, or fits a measured one."""
  values = flags.FLAGS
  _check(argv, values)
  import hwnas_jax as hw
  from hwnas_jax.config import problem
  from hwnas_jax.runs import profile

  backend = "cpu" if values.plan or values.fit else values.backend
  if backend:
    profile.use_backend(backend)
  config = problem.resolve(hw.load_config(values.config))
  others = [hw.Table.load(path) for path in values.transfer]
  if values.plan:
    count = profile.write_plan(config, values.plan, values.networks, others)
    _print_plan(values.plan, count, values.transfer)
    return
  if values.fit:
    table, path = profile.fit_plan(config, values.fit, values.out, others)
    _print(table, config, str(path), "")
    _print_errors(table)
    return
  effort = profile.Effort(values.repeats, values.networks, values.held_out)
  path = profile.out_path(values.out, profile.fingerprint())
  existed = path.exists()
  profile.require_predictor(config, values.predictor, effort)
  table = profile.measure(config, effort, path, others)
  error = (
    profile.train_predictor(config, table, path, values.predictor, effort)
    if values.predictor
    else None
  )
  _print(table, config, str(path), ": delete it to measure again" * existed)
  _print_errors(table, values.predictor, error)


def _check(argv: Sequence[str], values: flags.FlagValues) -> None:
  """Raises UsageError for flags that exclude or need each other."""
  if len(argv) > 1:
    raise app.UsageError(f"unexpected argument: {argv[1]}")
  if values.plan and values.fit:
    raise app.UsageError("--plan and --fit exclude each other")
  _refuse_unread(values)
  if 0 < values.networks < 3:
    raise app.UsageError("--networks must be 0, or at least 3")
  if values.transfer and not values.networks:
    raise app.UsageError("--transfer needs --networks, 10 or more")
  if values.predictor and (values.plan or values.fit or values.transfer):
    raise app.UsageError(
      "--predictor needs a table and networks that are measured here: leave out"
      " --plan, --fit and --transfer"
    )


def _refuse_unread(values: flags.FlagValues) -> None:
  """Raises UsageError for flags that were given and that nothing would read."""
  unread = {
    "plan": ("backend", "out", "repeats", "held_out"),
    "fit": ("backend", "repeats", "networks", "held_out"),
  }
  for way, names in unread.items():
    given = [f"--{name}" for name in names if values[name].present]
    if values[way].value and given:
      raise app.UsageError(f"--{way} does not read {', '.join(given)}")
  if not values.networks and values["held_out"].present and values.held_out:
    raise app.UsageError("--held_out needs --networks, 3 or more")


def _print_plan(folder: str, num_entries: int, transfer: Sequence[str]) -> None:
  from hwnas_jax.io import paths

  size = sum(p.stat().st_size for p in paths.expand(folder).rglob("*.onnx"))
  print(
    f"{folder}: {num_entries} entries to measure, {size / 1e6:.0f} MB of ONNX."
    " Copy the folder to the device and run there: pip install onnxruntime"
    " numpy; python runner.py. Then copy timings.json back into"
    f" {folder} and give --fit={folder}"
    + "".join(f" --transfer={path}" for path in transfer)
  )


def _print(
  table: "LatencyTable", config: "Config", path: str, note: str
) -> None:
  """Prints the slowest and fastest sites, the base and the table's path."""
  from hwnas_jax.config import problem
  from hwnas_jax.costs import table as tables

  space = problem.make_nets(config).derived.space()
  rows = tables.timed_entries(table, space)
  print(f"{table.fingerprint}, batch {table.batch_size}: {len(rows)} sites")
  for entry in rows if len(rows) <= 8 else [*rows[:5], None, *rows[-3:]]:
    print(
      f"  {entry.latency_ms:9.4f} ms (IQR {entry.iqr_ms:.4f}) {entry.site.key}"
      if entry
      else "  ..."
    )
  print(
    f"  base {tables.base_ms(table, space):.3f} ms: the operations of every"
    " network"
  )
  print(f"{path}{note}")


def _print_errors(
  table: "LatencyTable",
  kind: str | None = None,
  error: "Error | None" = None,
) -> None:
  """Prints the errors of the table, and of a predictor beside it."""
  if table.errors is None:
    return
  print(f"errors of the table on {table.errors.measured_on}:")
  rows = {"raw": table.errors.raw, "calibrated": table.errors.calibrated}
  if kind and error:
    rows[kind] = error
  for name, row in rows.items():
    print(
      f"  {name:10} median error {100 * row.median_absolute_error:5.1f} %, "
      f"bias {100 * row.bias:+6.1f} %"
      + ("" if row.spearman is None else f", Spearman {row.spearman:.3f}")
    )
  if kind and error:
    better = (
      error.median_absolute_error
      < table.errors.calibrated.median_absolute_error
    )
    print(
      f"use the predictor: {kind} beats the calibrated table here"
      if better
      else f"use the calibrated table: {kind} does not beat it here"
    )
