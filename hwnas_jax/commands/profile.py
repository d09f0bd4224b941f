"""Measures the latency table of a search space, here or elsewhere.

  python -m hwnas_jax.profile --backend=cpu --config=configs/cifar.py

writes tables/<fingerprint>.json (schema: costs/table.py), calibrated on whole
networks, and ends by saying how wrong it is on others. Stopped, the same
command goes on where it was. For a device that cannot run JAX:

  python -m hwnas_jax.profile --config=... --plan=DIR     (here: costs/plan.py)
  python runner.py                                        (there, in DIR)
  python -m hwnas_jax.profile --config=... --fit=DIR --out=table.json   (here)

With --transfer=TABLE, of another device, whole networks alone are measured
(--networks=10 will do), here or by a plan: costs/transfer.py.
"""

import os
import sys

if __name__ == "__main__" and not __package__:
  # Run as a file, this module takes the place of the standard `profile`.
  sys.exit("run it as a module: python -m hwnas_jax.profile")

import functools
import pathlib

import jax
import numpy as np
from absl import app, flags, logging
from ml_collections import ConfigDict

from hwnas_jax.config import fields as configuration
from hwnas_jax.config import method
from hwnas_jax.costs import counts
from hwnas_jax.costs import table as tables
from hwnas_jax.costs.correct import calibration, transfer
from hwnas_jax.costs.measure import networks, plan, plan_result
from hwnas_jax.costs.measure.sites import REPEATS, profile_space
from hwnas_jax.costs.predict import fit, predictor
from hwnas_jax.costs.predict.nets import NETWORKS
from hwnas_jax.costs.table import LatencyTable
from hwnas_jax.io import versions
from hwnas_jax.spaces.rules import RULES
from hwnas_jax.spaces.spec import Space, Spec

_BACKEND = flags.DEFINE_enum(
  "backend",
  None,
  ["cpu", "gpu", "tpu"],
  "what to measure on; by default what JAX finds first",
)
_CONFIG = flags.DEFINE_string(
  "config", "configs/cifar.py", "file of the search space, as main takes it"
)
_OUT = flags.DEFINE_string(
  "out", None, "table to write; tables/<fingerprint>.json by default"
)
_REPEATS = flags.DEFINE_integer(
  "repeats", REPEATS, "samples of each site and network", lower_bound=3
)
_NETWORKS = flags.DEFINE_integer(
  "networks", 20, "whole networks to calibrate on; 0: none", lower_bound=0
)
_HELD_OUT = flags.DEFINE_integer(
  "held_out", 10, "networks to tell the error on, beside them", lower_bound=0
)
_PLAN = flags.DEFINE_string(
  "plan", None, "new folder: writes what to measure elsewhere, measures nothing"
)
_FIT = flags.DEFINE_string(
  "fit", None, "folder of a plan with plan_result.json: makes its table"
)
_TRANSFER = flags.DEFINE_multi_string(
  "transfer",
  [],
  "table of another device: measures whole networks alone, and makes it this "
  "device's by them; more tables tell how devices differ",
)
_PREDICTOR = flags.DEFINE_enum(
  "predictor",
  None,
  [*NETWORKS],
  "also trains this predictor on the networks, beside the table: "
  "<out>.predictor.npz",
)


def use_backend(name: str) -> None:
  """Makes `name` (cpu, gpu or tpu) JAX's default; call it before other uses.

  Raises:
    RuntimeError: it is not there; the message names what is.
  """
  if name == "cpu":
    # Where there is a GPU too, it would stay the default.
    jax.config.update("jax_platforms", "cpu")
  try:
    found = jax.default_backend()
  except (RuntimeError, AssertionError) as error:
    raise RuntimeError(f"JAX has no usable backend: {error}") from error
  if found != name:
    raise RuntimeError(
      f"no {name} here, JAX finds {found} ({jax.devices()[0].device_kind}): "
      f"measure with --backend={found}, or install JAX for {name} and see "
      "that JAX_PLATFORMS allows it"
    )


def summary(table: LatencyTable, space: Space) -> str:
  """A few lines for people: dearest and cheapest sites, and the base."""
  keys = {site.key for site in space.unique_sites()}
  rows = sorted(
    (e for e in table.entries if e.site.key in keys and e.samples_ms),
    key=lambda e: -e.latency_ms,
  )
  shown = rows if len(rows) <= 8 else [*rows[:5], None, *rows[-3:]]
  lines = [
    f"  {e.latency_ms:9.4f} ms +- {e.spread_ms:.4f}  {e.site.key}"
    if e
    else "  ..."
    for e in shown
  ]
  base = f"{tables.base_ms(table, space):.3f} ms: what every network runs"
  head = f"{table.fingerprint}, batch {table.batch_size}: {len(rows)} sites"
  return "\n".join([head, *lines, f"  base {base}"])


def error_lines(errors: networks.Errors, which: str) -> str:
  """How wrong the raw and the calibrated table are, for people."""
  rows = [
    f"  {name:10} median error {100 * row['median_absolute_error']:5.1f} %, "
    f"bias {100 * row['bias']:+6.1f} %, Spearman {row['spearman']:.3f}"
    for name, row in errors.items()
  ]
  return "\n".join([f"table against {which}:", *rows])


def _whom(held_out: int, fitted: int) -> str:
  if held_out:
    return f"{held_out} networks not used in the fit"
  return f"{fitted} networks, each predicted by the fit to the others"


def _refuse_existing(out: str) -> None:
  if os.path.exists(out):
    raise ValueError(f"{out} is there: delete it, or give another --out")


def _known(config: ConfigDict, net: Spec) -> list[LatencyTable]:
  """The tables of --transfer, each with all sites of the space."""
  found = [tables.load(path) for path in _TRANSFER.value]
  for table in found:
    tables.require(table, net.space(), config.latency.batch_size)
  return found


def _calibrate(known: list[LatencyTable]) -> networks.Calibrate:
  if not known:
    return calibration.calibrate
  others = {table.fingerprint: tables.costs(table) for table in known[1:]}
  return functools.partial(transfer.calibrate, tables=others)


def write_plan(config: ConfigDict, net: Spec, folder: str) -> None:
  """Writes the plan of --plan."""
  batch_size, known = config.latency.batch_size, _known(config, net)
  if known:
    costs = tables.costs(known[0])
  else:
    # No table yet: multiply-accumulates spread the networks over the space.
    costs = counts.site_costs(net.space(), counts.macs)
  rule, rng = RULES[config.derive.rule], np.random.default_rng(networks.SEED)
  count = _NETWORKS.value
  chosen = calibration.choose(net, costs, rule, rng, count) if count else []
  document = plan.write(folder, net, batch_size, chosen, sites=not known)
  size = sum(p.stat().st_size for p in pathlib.Path(folder).rglob("*.onnx"))
  print(
    f"{folder}: {len(document['entries'])} entries, {size / 1e6:.0f} MB of "
    "ONNX. On the device: pip install onnxruntime numpy; python runner.py; "
    f"then bring plan_result.json back into {folder} and give --fit={folder}"
    + "".join(f" --transfer={path}" for path in _TRANSFER.value)
  )


def fit_table(
  config: ConfigDict, net: Spec, folder: str, out: str | None
) -> None:
  """Makes the table of --fit."""
  fitted, known = plan_result.fit(folder, net), _known(config, net)
  table, told = fitted.table, ""
  if known:
    table = transfer.move(known[0], table.device)
  tables.require(table, net.space(), table.batch_size)
  if fitted.genotypes:
    count = len(fitted.genotypes)
    measured = networks.Measured(fitted.genotypes, fitted.measured_ms)
    table, errors = networks.calibrated(
      net, table, measured, count, _calibrate(known)
    )
    told = error_lines(errors, _whom(0, count))
  out = out or f"tables/{table.fingerprint}.json"
  _refuse_existing(out)
  tables.save(out, table)
  print(summary(table, net.space()))
  print(f"{out}\n{told}".strip())


def measure_here(config: ConfigDict, net: Spec, out: str | None) -> None:
  """Measures, calibrates and tests the table of this device."""
  device = versions.device_fingerprint()
  out = out or f"tables/{versions.fingerprint_id(device)}.json"
  existed = os.path.exists(out)
  batch_size, repeats = config.latency.batch_size, _REPEATS.value
  if _PREDICTOR.value and config.derive.rule == "top_k":
    raise ValueError(
      "--predictor is for searches that read a sample of every choice, and"
      " derive.rule=top_k drops some: give a config with argmax"
    )
  known, told = _known(config, net), ""
  if known:
    _refuse_existing(out)
    table = transfer.move(known[0], device)
  else:
    table = profile_space(net.space(), batch_size, out, repeats)
  if _NETWORKS.value:
    kind, rule = _PREDICTOR.value, RULES[config.derive.rule]
    count, held_out = _NETWORKS.value, _HELD_OUT.value
    measured = networks.profile_chosen(
      net, table, out, rule, count + held_out, repeats
    )
    table, errors = networks.calibrated(
      net, table, measured, count, _calibrate(known)
    )
    tables.save(out, table)
    if kind:
      found, errors[kind] = networks.train_predictor(
        kind, net, table, measured, count
      )
      predictor.save(pathlib.Path(out).with_suffix(".predictor.npz"), found)
    told = error_lines(errors, _whom(held_out, count))
    told += _advice(errors, kind)
  print(summary(table, net.space()))
  print(f"{out}" + (": delete it to measure again" if existed else ""))
  if told:
    print(told)


def _advice(errors: networks.Errors, kind: str | None) -> str:
  """Whether to use the predictor: only where it beats the calibrated table."""
  if not kind:
    return ""
  ours, table = (
    errors[n]["median_absolute_error"] for n in (kind, "calibrated")
  )
  if ours < table:
    return f"\nuse the predictor: {kind} beats the calibrated table here"
  return f"\nuse the calibrated table: {kind} does not beat it here"


def main(argv: list[str]) -> None:
  """Measures the space of --config, plans it, or fits what was measured."""
  if len(argv) > 1:
    raise app.UsageError(f"unknown argument: {argv[1]}")
  if _PLAN.value and _FIT.value:
    raise app.UsageError("--plan and --fit exclude each other")
  if 0 < _NETWORKS.value < 3:
    raise app.UsageError("--networks has to be 0, or 3 at least")
  if _TRANSFER.value and not _NETWORKS.value:
    raise app.UsageError("--transfer needs --networks, 10 or more")
  if _PREDICTOR.value and (
    _NETWORKS.value < fit.MIN_SAMPLES
    or not _HELD_OUT.value
    or _PLAN.value
    or _FIT.value
    or _TRANSFER.value
  ):
    raise app.UsageError(
      f"--predictor needs --networks={fit.MIN_SAMPLES} or more and "
      "--held_out, all measured here, with the sites"
    )
  # JAX tells of every backend that it looked for in vain.
  logging.set_verbosity(logging.WARNING)
  try:
    backend = "cpu" if _PLAN.value or _FIT.value else _BACKEND.value
    if backend:
      use_backend(backend)
    config = configuration.load(_CONFIG.value)
    net = method.make_nets(config)[1]
    if _PLAN.value:
      write_plan(config, net, _PLAN.value)
    elif _FIT.value:
      fit_table(config, net, _FIT.value, _OUT.value)
    else:
      measure_here(config, net, _OUT.value)
  except (
    RuntimeError,
    ValueError,
    FileNotFoundError,
    ModuleNotFoundError,
  ) as error:
    sys.exit(f"profile: {error}")


if __name__ == "__main__":
  app.run(main)
