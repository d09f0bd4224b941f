"""Members of a family."""

from hwnas_jax.derive.family import Derived
from hwnas_jax.io.records import Accuracies, Condition
from hwnas_jax.runs import members

HERE = Condition((0.5, 0.5), 1.0)


def test_the_best_on_what_was_held_out_is_kept(capsys):
  networks = [
    Derived("a", (0,), HERE),
    Derived("b", (1,), HERE),
    Derived("r", (2,), None, "random"),
  ]
  trained = [
    Accuracies(0.9, held_out_accuracy=0.5),
    Accuracies(0.1, held_out_accuracy=0.8),
    Accuracies(0.9, held_out_accuracy=0.9),  # a random one is none of them
  ]
  assert members.best_sample(networks, trained) == 1
  assert capsys.readouterr().out == (
    "kept b: 80.0% accuracy on held-out training examples\n"
  )


def test_without_what_was_held_out_none_is_kept():
  networks = [Derived("a", (0,), HERE)]
  assert members.best_sample(networks, [Accuracies(0.9)]) is None
