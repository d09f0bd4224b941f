"""Compares the roles, and draws figure.png and the tables of README.md."""

import pathlib
from typing import Any

import matplotlib
import numpy as np

from experiments.families import sizes
from hwnas_jax.io import readers, writers
from hwnas_jax.report import style

ROLES = ("family", "finalist", "largest", "random")
PAIRS = (
  ("family", "largest"),
  ("family", "random"),
  ("finalist", "largest"),
  ("finalist", "random"),
)
NAMES = {"largest": "largest that fits", "finalist": "family, five finalists"}


def report(
  choices: pathlib.Path, parts: pathlib.Path, out: pathlib.Path
) -> None:
  """Joins choices and trainings of all parts in results.json, and draws it.

  A budget whose networks are not trained yet is left out, and named.
  """
  results = readers.read_json(choices)
  trained = [readers.read_json(p) for p in sorted(parts.glob("part*of*.json"))]
  if not trained:
    raise SystemExit(f"{parts} has no trainings yet: run the command train")
  rows = {r["budget_ms"]: r for part in trained for r in part.pop("budgets")}
  chosen = results["budgets"]
  results["budgets"] = [
    row | rows[row["budget_ms"]] for row in chosen if row["budget_ms"] in rows
  ]
  results["not_trained_ms"] = [
    row["budget_ms"] for row in chosen if row["budget_ms"] not in rows
  ]
  results["trainings"] = trained
  results["comparison"] = [compare(row) for row in results["budgets"]]
  writers.write_json(out / "results.json", results)
  draw(results, out)


def accuracies(row: dict[str, Any], role: str) -> np.ndarray:
  """Test accuracies of a role's network in %, by training; [0] if untrained."""
  return 100 * np.asarray(row["test"].get(row["ids"][role], []))


def compare(row: dict[str, Any]) -> dict[str, Any]:
  """Points between roles at a budget.

  The standard error is that of the mean difference over the training seeds.
  """
  gains: dict[str, Any] = {"budget_ms": row["budget_ms"]}
  for ours, rival in PAIRS:
    if not row["test"].keys() >= {row["ids"][ours], row["ids"][rival]}:
      continue
    gain = accuracies(row, ours) - accuracies(row, rival)
    gains[f"{ours} - {rival}"] = {
      "points": float(gain.mean()),
      "standard_error": float(gain.std(ddof=1) / np.sqrt(len(gain))),
      "same_network": row["ids"][ours] == row["ids"][rival],
    }
  return gains


@matplotlib.rc_context(style.RC)
def draw(results: dict[str, Any], out: pathlib.Path) -> None:
  """figure.png, and the table of the data set in README.md."""
  fig, ax = style.new_axes("", 8.0, 4.6)
  hues = style.ACCENT, style.PALETTE[1], style.PALETTE[2], style.MUTED
  for role, hue in zip(ROLES, hues, strict=True):
    rows = [r for r in results["budgets"] if accuracies(r, role).size]
    scores = np.asarray([accuracies(row, role) for row in rows])
    ids = [row["ids"][role] for row in rows]
    ax.errorbar(
      [results["latencies"][i]["latency_ms"] for i in ids],
      scores.mean(1),
      yerr=scores.std(1, ddof=1) / np.sqrt(sizes.SEEDS),
      fmt="o-" if role in ("family", "finalist") else "o",
      color=hue,
      label=NAMES.get(role, role),
    )
  ax.set_xlabel(f"measured latency, ms (batch {results['batch_size']})")
  ax.set_ylabel("test accuracy, %")
  style.add_legend(ax)
  fig.savefig(out / "figure.png", dpi=110)
  page = out.parent / "README.md"
  start, end = (f"<!-- {edge}: {out.name} -->" for edge in ("table", "end"))
  before, rest = page.read_text().split(start)
  after = rest.split(end)[1]
  page.write_text(f"{before}{start}\n\n{table(results)}\n{end}{after}")


def table(results: dict[str, Any]) -> str:
  """Accuracies and differences by budget, in Markdown."""
  pairs = [f"{ours} - {rival}" for ours, rival in PAIRS]
  head = ["budget, ms", *ROLES, *pairs]
  lines = [head, ["---"] * len(head)]
  for row, gains in zip(results["budgets"], results["comparison"], strict=True):
    cells = [f"{row['budget_ms']:.2f}"]
    for role in ROLES:
      scores = accuracies(row, role)
      latency_ms = results["latencies"][row["ids"][role]]["latency_ms"]
      accuracy = (
        f"{scores.mean():.2f} ({scores.std(ddof=1):.2f})"
        if scores.size
        else "not trained"
      )
      cells.append(f"{accuracy}, {latency_ms:.2f} ms")
    for pair in pairs:
      if pair not in gains:
        cells.append("-")
        continue
      gain = gains[pair]
      difference = f"{gain['points']:+.2f} ({gain['standard_error']:.2f})"
      cells.append("same network" if gain["same_network"] else difference)
    lines.append(cells)
  return "".join(f"| {' | '.join(line)} |\n" for line in lines)
