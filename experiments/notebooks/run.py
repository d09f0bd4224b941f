"""Runs colab.ipynb without a browser, and fails where a cell fails.

HWNAS_SMOKE=1 python experiments/notebooks/run.py
"""

import pathlib
import tempfile

import nbclient
import nbformat


def main() -> None:
  """Executes the notebook; its outputs are looked at, not kept."""
  path = pathlib.Path(__file__).with_name("colab.ipynb")
  notebook = nbformat.read(path, as_version=4)
  code = [cell for cell in notebook.cells if cell.cell_type == "code"]
  if any(cell.outputs for cell in code):
    raise SystemExit(f"{path} was saved with outputs: clear them")
  with tempfile.TemporaryDirectory() as folder:
    nbclient.NotebookClient(
      notebook, timeout=3600, resources={"metadata": {"path": folder}}
    ).execute()
  shown = code[-1].outputs
  if not any("image/png" in output.get("data", {}) for output in shown):
    raise SystemExit(f"the last cell shows no figure: {shown}")
  for cell in code[1:-1]:
    printed = [o.text for o in cell.outputs if o.get("name") == "stdout"]
    print("".join(printed), end="")


if __name__ == "__main__":
  main()
