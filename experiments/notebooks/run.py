"""Runs colab.ipynb without a browser, and fails where a cell fails.

HWNAS_SMOKE=1 python experiments/notebooks/run.py [--out=executed.ipynb]
"""

import argparse
import pathlib
import tempfile

import nbclient
import nbformat

# Cells, by id, that end in a value with an HTML form of its own.
SHOWN = ("profile", "search", "network", "query", "report")


def main() -> None:
  """Executes the notebook and prints what its cells print."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--out", type=pathlib.Path, help="keeps what was run")
  args = parser.parse_args()
  path = pathlib.Path(__file__).with_name("colab.ipynb")
  notebook = nbformat.read(path, as_version=4)
  code = [cell for cell in notebook.cells if cell.cell_type == "code"]
  if any(cell.outputs for cell in code):
    raise SystemExit(f"{path} was saved with outputs: clear them")
  with tempfile.TemporaryDirectory() as folder:
    nbclient.NotebookClient(
      notebook, timeout=3600, resources={"metadata": {"path": folder}}
    ).execute()
  if args.out:
    nbformat.write(notebook, args.out)
  for cell in code:
    if cell.id in SHOWN and not any(
      "text/html" in output.get("data", {}) for output in cell.outputs
    ):
      raise SystemExit(f"the cell {cell.id} shows no HTML: {cell.outputs}")
    printed = [o.text for o in cell.outputs if o.get("name") == "stdout"]
    print("".join(printed), end="")


if __name__ == "__main__":
  main()
