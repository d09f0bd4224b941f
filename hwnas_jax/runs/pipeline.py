"""The main job: table, search, family, training, measurement, report.

Every stage leaves its result in the run folder and is skipped when it is
there, so a killed run goes on where it was:

  config.json versions.json   what ran, with what
  table.json                  the device's latency table
  search/                     metrics.jsonl, checkpoints
  networks/<id>/              architecture.json, weights.npz, metrics
  family.json report.html     the result
"""

import functools
import pathlib
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from hwnas_jax.config import checks, method, pricing
from hwnas_jax.core import tree
from hwnas_jax.core.rng import stream
from hwnas_jax.core.types import Genotype
from hwnas_jax.costs import counts, table
from hwnas_jax.costs.correct.calibration import Rule
from hwnas_jax.costs.measure import networks, sites, timing
from hwnas_jax.costs.predict import fit, predictor
from hwnas_jax.data import arrays, load
from hwnas_jax.derive import collapse
from hwnas_jax.derive import sweep as sweeps
from hwnas_jax.io import loop, versions, writers
from hwnas_jax.method import price
from hwnas_jax.method.state import CostTable, SearchState
from hwnas_jax.method.step import Parts
from hwnas_jax.report.html import write_report
from hwnas_jax.runs import training
from hwnas_jax.spaces import architecture, rules
from hwnas_jax.spaces.spec import Spec

HELD_OUT = 512  # examples that tell whether the search has collapsed
TERNARY_SIDE = 12  # points along a side of the report's ternary map


class Member(NamedTuple):
  """A network of the family, or a random one (no condition)."""

  name: str
  genotype: Genotype
  condition: dict[str, Any] | None


def main_job(config: ConfigDict, workdir: str, command: str) -> pathlib.Path:
  """Runs or resumes everything; returns the report's path.

  Raises:
    ValueError: the config, the table or the run folder is wrong.
    FileNotFoundError: the data set is absent.
    io.loop.Stopped: asked to stop; the same command resumes.
  """
  checks.check(config)
  load.check(config.data.name, config.data.data_dir or None)
  net, derived = method.make_nets(config)
  # A table that does not fit leaves no folder that a better one is refused in.
  given = _given_table(config, net, derived)
  folder = pathlib.Path(workdir).expanduser()
  record(folder, config, command)
  dataset = method.load_dataset(config)
  latency = _table(config, folder, derived, given)
  config = _with_predictor(config, folder, derived, latency)
  reference = pricing.make_reference(config, net, derived, latency)
  if latency:
    print(pricing.make_reach(config, net.space(), reference))
  # What is wrong with these is told before the search, not after.
  rule = pricing.make_rule(config, net.space(), reference)
  _points(config, len(price.priced_columns(np.asarray(reference.reference))))
  state, parts, columns = search(config, folder, net, reference, dataset)
  members, sweep, shares = derive(config, net, parts, state, columns, rule)
  _tell_collapse(config, net, parts, state, dataset, members, sweep)
  genotypes = [m.genotype for m in members]
  trained = training.train(config, folder, dataset, derived, genotypes)
  result = _family(config, derived, latency, members, trained)
  result |= {"sweep": sweep, "shares": shares}
  result["priced"] = [net.ops[c] for c in columns]
  writers.write_json(folder / "family.json", result)
  return write_report(folder)


def record(folder: pathlib.Path, config: ConfigDict, command: str) -> None:
  """Writes what runs; refuses a folder of another config."""
  folder.mkdir(parents=True, exist_ok=True)
  path, resolved = folder / "config.json", config.to_dict()
  if path.exists():
    found = tree.flatten(writers.read_json(path)["config"])
    wanted = tree.flatten(resolved)
    names = sorted(set(found) | set(wanted))
    differing = [n for n in names if found.get(n) != wanted.get(n)]
    if differing:
      raise ValueError(
        f"{folder} is of another config: {', '.join(differing)} differ. Use"
        " another --workdir, or delete it."
      )
  writers.write_json(path, {"config": resolved, "command": command})
  fingerprint = versions.device_fingerprint()
  about = {
    "versions": versions.versions(),
    "device": fingerprint,
    "fingerprint": versions.fingerprint_id(fingerprint),
  }
  writers.write_json(folder / "versions.json", about)


def _given_table(
  config: ConfigDict, net: Spec, derived: Spec
) -> table.LatencyTable | None:
  """The named table, refused if it lacks a site or puts T out of reach."""
  if not config.latency.table:
    return None
  found = table.load(config.latency.table)
  table.require(found, derived.space(), config.latency.batch_size)
  reference = pricing.make_reference(config, net, derived, found)
  pricing.make_target_ms(config, net.space(), reference)
  return found


def _table(
  config: ConfigDict,
  folder: pathlib.Path,
  derived: Spec,
  given: table.LatencyTable | None,
) -> table.LatencyTable | None:
  """The given table, or one measured here; None where nothing reads it."""
  out, part = folder / "table.json", config.latency
  if given is not None:
    table.save(out, given)
    return given
  if config.cost.name != "latency":
    return None
  found = sites.profile_space(
    derived.space(), part.batch_size, out, part.repeats
  )
  if not part.calibration_networks:
    return found
  rule, count = rules.RULES[config.derive.rule], part.calibration_networks
  measured = networks.profile_chosen(
    derived, found, out, rule, count, part.repeats
  )
  found, _ = networks.calibrated(derived, found, measured, count)
  table.save(out, found)
  return found


def _with_predictor(
  config: ConfigDict,
  folder: pathlib.Path,
  net: Spec,
  latency: table.LatencyTable | None,
) -> ConfigDict:
  """cost.predictor as a path: of one trained here, where it names a kind."""
  kind = config.cost.predictor
  if kind not in fit.NETWORKS:
    return config
  assert latency is not None
  path, part = folder / "predictor.npz", config.latency
  if not path.exists():
    rule, count = (
      rules.RULES[config.derive.rule],
      part.calibration_networks,
    )
    measured = networks.profile_chosen(
      net, latency, folder / "table.json", rule, count, part.repeats
    )
    costs = table.raw_costs(latency)
    found = fit.train_on(
      kind, net, costs, measured.genotypes, measured.latencies_ms
    )
    predictor.save(path, found)
    held = found.held_out
    print(
      f"{kind}: mean error {float(held.mean):.1%} held out, its table"
      f" {float(held.table_mean):.1%}"
    )
  config = config.copy_and_resolve_references()
  config.cost.predictor = str(path)
  return config


def search(
  config: ConfigDict,
  folder: pathlib.Path,
  net: Spec,
  reference: CostTable,
  dataset: arrays.Dataset,
) -> tuple[SearchState, Parts, tuple[int, ...]]:
  """Runs or resumes the search: (final state, parts, priced columns)."""
  parts, settings, columns = method.make_parts(config, net, reference, dataset)
  data, split_digest = method.make_search_data(config, dataset)
  init, steps = method.make_search(config, parts, settings)
  cost = "expected_latency_ms" if config.cost.name == "latency" else "cost"

  def dispatch(state: SearchState) -> tuple[SearchState, dict[str, Any]]:
    state, metrics = steps(state, data, reference)
    metrics[cost] = metrics.pop("expected_cost")
    return state, metrics

  state = loop.run(
    dispatch,
    init(stream(config.seed, "search")),
    num_steps=config.search.num_steps,
    checkpoint_every=config.search.checkpoint_every,
    directory=folder / "search",
    label="search",
    identity={
      "split": split_digest,
      "data": dataset.digest,
      "table": tree.digest(reference),
    },
    tensorboard=config.tensorboard,
  )
  return state, parts, columns


def derive(
  config: ConfigDict,
  net: Spec,
  parts: Parts,
  state: SearchState,
  columns: tuple[int, ...],
  rule: Rule,
) -> tuple[list[Member], list[dict[str, Any]], list[dict[str, Any]]]:
  """(networks to train, id of each condition, operation shares for a map).

  Conditions that give the same genotype give one member, named after the
  first; random genotypes are drawn beside them, all different.
  """
  space = net.space()
  names, points = _points(config, len(columns))
  at = functools.partial(
    sweeps.logits_of, parts.controller, parts.conditions, state.controller
  )
  logits = at(points)
  members: dict[Genotype, Member] = {}
  sweep = []
  if config.derive.num_samples:
    names, points, logits = _sampled(config, points[0], logits[0])
  for name, (simplex, scale), rows in zip(names, points, logits, strict=True):
    genotype = rule(space, rows)
    condition = {"simplex": list(simplex), "scale": scale}
    members.setdefault(genotype, Member(name, genotype, condition))
    found = architecture.identity(space, genotype)
    sweep.append({"name": name, "condition": condition, "id": found})
  rng = np.random.default_rng(config.seed)
  for index, genotype in enumerate(
    sweeps.distinct(
      list(members),
      lambda: rules.random(space, config.derive.rule, rng),
      config.derive.num_random,
    )
  ):
    members[genotype] = Member(f"random {index}", genotype, None)
  grid = points + sweeps.simplex_grid(
    len(columns), points[len(points) // 2][1], TERNARY_SIDE
  )
  shares = [
    {
      "condition": {"simplex": list(simplex), "scale": scale},
      "shares": sweeps.shares(rows, net.ops),
    }
    for (simplex, scale), rows in zip(grid, at(grid), strict=True)
  ]
  return list(members.values()), sweep, shares


def _tell_collapse(
  config: ConfigDict,
  net: Spec,
  parts: Parts,
  state: SearchState,
  dataset: arrays.Dataset,
  members: list[Member],
  sweep: list[dict[str, Any]],
) -> None:
  """Adds the signs of a collapse to each point, and prints the alarms."""
  space = net.space()
  by_id = {architecture.identity(space, m.genotype): m for m in members}
  conditions = [point["condition"] for point in sweep]
  points = [(c["simplex"], c["scale"]) for c in conditions]
  logits = sweeps.logits_of(
    parts.controller, parts.conditions, state.controller, points
  )
  found = collapse.signs(
    parts.net,
    parts.fold,
    state.weights,
    *method.held_out(config, dataset, HELD_OUT),
    jax.vmap(parts.conditions.features)(sweeps.conditions_of(points)),
    logits,
    [by_id[point["id"]].genotype for point in sweep],
    parts.skip,
    paths=method.paths_of(config),
  )
  for point, signs in zip(sweep, found, strict=True):
    point["collapse"] = signs
    for alarm in signs["alarms"]:
      print(f"{point['name']}: {alarm}")


def _sampled(
  config: ConfigDict, point: tuple[list[float], float], logits: np.ndarray
) -> tuple[list[str], list[tuple[list[float], float]], np.ndarray]:
  """Draws from the categorical in place of its mode (FBNet; research 4.3).

  The rule's answer to noisy logits is such a draw. All are trained and told,
  and the best on examples held out of training is kept: see `_keep`.
  """
  count = config.derive.num_samples
  rng = np.random.default_rng(config.seed)
  noisy = logits + rng.gumbel(size=(count, *logits.shape))
  return [f"sample {i}" for i in range(count)], [point] * count, noisy


def _points(
  config: ConfigDict, size: int
) -> tuple[list[str], list[tuple[list[float], float]]]:
  """Names and conditions of the family."""
  if config.condition.name in checks.SCALED:
    part = config.condition
    points = sweeps.scale_grid(
      size, part.low, part.high, config.derive.num_scales
    )
    return [f"scale {scale:.3g}" for _, scale in points], points
  if config.condition.name == "fixed":
    return ["found"], [([1.0 / size] * size, config.condition.high)]
  names = sorted(config.derive.vectors)
  vectors = [np.asarray(config.derive.vectors[n], float) for n in names]
  wrong = [
    n
    for n, v in zip(names, vectors, strict=True)
    if len(v) != size or not (v >= 0).all() or not v.sum() > 0
  ]
  if wrong or not names:
    raise ValueError(
      f"derive.vectors needs names with {size} prices >= 0 each, got"
      f" {dict(config.derive.vectors)}"
    )
  return names, [((v / v.sum()).tolist(), 1.0) for v in vectors]


def _family(
  config: ConfigDict,
  net: Spec,
  latency: table.LatencyTable | None,
  members: list[Member],
  trained: list[dict[str, Any]],
) -> dict[str, Any]:
  """Measures all networks, interleaved, and describes each."""
  space = net.space()
  names = [architecture.identity(space, m.genotype) for m in members]
  genotypes = {n: m.genotype for n, m in zip(names, members, strict=True)}
  compiled = timing.compile_networks(net, genotypes, config.latency.batch_size)
  measured = timing.measure_networks(compiled, config.latency.repeats)
  rows = [
    _describe(net, latency, name, member, measured[name]) | told
    for name, member, told in zip(names, members, trained, strict=True)
  ]
  _keep(rows)
  base = table.base_ms(latency, space) if latency else None
  return {
    "ops": list(net.ops),
    "choices": list(space.choices),
    "latency_batch_size": config.latency.batch_size,
    "base_latency_ms": base,
    "members": rows,
  }


def _describe(
  net: Spec,
  latency: table.LatencyTable | None,
  name: str,
  member: Member,
  measured: dict[str, float],
) -> dict[str, Any]:
  space, genotype = net.space(), member.genotype
  cost = functools.partial(counts.genotype_cost, net, genotype)
  searched = counts.site_costs(space, counts.search_params)
  row: dict[str, Any] = {
    "id": name,
    "name": member.name,
    "kind": "random" if member.condition is None else "member",
    "condition": member.condition,
    "genotype": architecture.to_json(space, genotype),
    "op_counts": architecture.op_counts(space, genotype),
    "params": int(cost(counts.site_costs(space, counts.params))),
    "op_params": int(cost(searched) - space.base_cost(searched)),
    "macs": int(cost(counts.site_costs(space, counts.macs))),
    "latency": measured,
  }
  if latency:
    row["predicted_ms"] = table.predict_ms(latency, net, genotype)
  return row


def _keep(rows: list[dict[str, Any]]) -> None:
  """Marks the sample that is kept: FBNet's "train k, keep the best"."""
  samples = [
    row
    for row in rows
    if row["condition"] is not None and "held_out_accuracy" in row
  ]
  if samples:
    best = max(samples, key=lambda row: row["held_out_accuracy"])
    best["kept"], best["name"] = True, f"{best['name']}, kept"
    print(
      f"kept {best['id']}: {best['held_out_accuracy']:.1%} on what was held out"
    )
