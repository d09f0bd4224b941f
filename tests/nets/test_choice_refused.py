"""What a user's model may not do: each refusal says what and what to do."""

import dataclasses
import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest
from toy_models import IMAGE, Block, Calls, Model, small

from hwnas_jax.nets.choice import Choice
from hwnas_jax.nets.norm import Mode
from hwnas_jax.nets.ops import Identity
from hwnas_jax.nets.tracing import trace


class Twice(nn.Module):
  """Two choices of one name."""

  @nn.compact
  def __call__(self, x):
    for _ in range(2):
      x = Choice({"a": Identity()}, name="layer")(x)
    return x.mean((1, 2))


class Again(nn.Module):
  """One choice, called twice."""

  @nn.compact
  def __call__(self, x):
    layer = Choice({"a": nn.Conv(2, (1, 1))}, name="layer")
    return layer(layer(x)).mean((1, 2))


class Joining(nn.Module):
  """A choice that is called as no choice can be: `call` does it."""

  call: Callable

  @nn.compact
  def __call__(self, x):
    layer = Choice({"a": Identity()}, name="layer")
    return self.call(layer, x).mean((1, 2))


class Nothing(nn.Module):
  """No choice."""

  @nn.compact
  def __call__(self, x):
    return nn.Dense(3)(x.mean((1, 2)))


class Step(nn.Module):
  """What a scan or vmap repeats."""

  @nn.compact
  def __call__(self, x):
    return Block(name="block")(x), None


class Modal(nn.Module):
  """Another choice in search than after."""

  mode: Mode

  @nn.compact
  def __call__(self, x):
    ops = {"a": nn.Conv(3, (1, 1)), "b": nn.Conv(3, (3, 3))}
    if self.mode == "train":
      del ops["b"]
    return Choice(ops, name="layer")(x).mean((1, 2))


class Training(nn.Module):
  """Has an argument that says what it is run for."""

  @nn.compact
  def __call__(self, x, train):
    return nn.BatchNorm(not train)(x)


class Keyword(Nothing):
  """A field that has to be given by name."""

  width: int = dataclasses.field(kw_only=True)


class Noting(nn.Module):
  """Keeps what it has seen."""

  @nn.compact
  def __call__(self, x):
    self.variable("seen", "images", lambda: x)
    return x


class Sharing(nn.Module):
  """An operation's module once more, as the field says."""

  again: str

  @nn.compact
  def __call__(self, x):
    conv = nn.Conv(2, (1, 1))
    layer = {"a": nn.Sequential([nn.relu, conv]), "b": Identity()}
    if self.again == "choice":
      x = Choice({"c": conv}, name="other")(x)
    elif self.again == "operation":
      layer["c"] = conv
    x = Choice(layer, name="layer")(x)
    x = conv(x) if self.again == "model" else x
    return nn.Dense(3)(x.mean((1, 2)))


def dropping(x):
  return nn.Dropout(0.5, deterministic=False)(x)


LIFTED = {"variable_axes": {"params": 0}, "split_rngs": {"params": True}}
MODULE = "'a' is %s, expected a flax.linen module: %s"
WRAP = r"wrap it in one, or use hwnas_jax.nets.ops.Identity\(\)"
TWICE = (
  "module Conv is used in %s: each gets weights .*; make a module for each"
)


@pytest.mark.parametrize(
  ("model", "message"),
  [
    (Nothing, "Nothing: it has no Choice: .* Call one, hwnas_jax.nets.choice"),
    (Twice, 'Twice: .*"layer" in .*: give each Choice its own name='),
    (Again, "the Choice layer is called twice: write a Choice for each call"),
    (
      lambda: nn.scan(Step, length=2, **LIFTED)(),
      "Choice block/inner is inside nn.scan, .*: write a Choice for each call",
    ),
    (
      lambda: nn.vmap(Step, in_axes=None, axis_size=2, **LIFTED)(),
      "Choice block/inner is inside nn.vmap, .*: write a Choice for each call",
    ),
    (
      lambda mode: nn.jit(Model)(mode),
      "layer_0 is inside nn.jit, .* first network's choice .*: leave it out",
    ),
    (
      Modal,
      "not the same in modes 'search' and 'train': layer .*: write the same"
      " Choices and operations whatever the mode is",
    ),
    (lambda width: Nothing(), "it needs width: give it a default"),
    (Keyword, "Keyword: it needs width: give it a default"),
    (lambda: 3, "makes a int, expected a flax.linen module"),
    (Training, "Training: __call__ needs train: give it .* or read self.mode"),
    (lambda: Sharing("choice"), TWICE % "other/c and in layer/a"),
    (lambda: Sharing("operation"), TWICE % "layer/a and in layer/c"),
    (lambda: Sharing("model"), TWICE % "layer/a and outside of choices"),
    (
      small([Identity()], before=lambda x: x.mean((1, 2))),
      "layer sees 2 an example: it takes images, .*: call it before they are",
    ),
    (
      small([Identity()], before=dropping),
      "random streams are not supported, remove what draws",
    ),
    (small([Identity()], name="a/b"), "Choice a/b: 'a/b' has a .*: rename it"),
  ],
)
def test_what_cannot_be_searched_is_refused(model, message):
  with pytest.raises(ValueError, match=message):
    trace(model, IMAGE, 3)


@pytest.mark.parametrize(
  ("ops", "message"),
  [
    ({"a": Identity(), "b": nn.Conv(3, (3, 3), 2)},
      r"sees 8 x 6 x 2, .* a \(8, 6, 2\) float32, b \(4, 3, 3\) float32:"
      " give them the same channels, stride and padding"),
    ({"a": Identity(), "b": Calls(lambda x: x.astype(jnp.bfloat16))},
      "sees 8 x 6 x 2, .* types, a .* float32, b .* bfloat16: give them the"
      " same dtype"),
    ({"a": Calls(lambda x: (x, x))}, "'a' gives .*: return one array of"),
    ({"a": nn.BatchNorm(use_running_average=True)},
      "it keeps batch_stats in mode 'search', where nothing but params"
      r" .*normalise with hwnas_jax.nets.norm.BatchNorm\(self.mode\)"),
    ({"a": Noting()}, "keeps seen in mode 'search', .*: remove the module or"),
    ({"a": Choice({"b": Identity()}, name="c")},
      "layer/a is inside the Choice layer: give its operations to that one"),
    ({"a": nn.Dropout(0.5, deterministic=False)},
      'a needs PRNG for "dropout": random streams are not supported, remove'),
    ({"a": Training()},
      "'a': __call__ needs train: give it a default, or make it a field"),
    ({"a": nn.relu}, MODULE % ("a function", WRAP)),
    ({"a": None}, MODULE % ("None", WRAP)),
    ({"a": Identity}, MODULE % ("the class Identity", r"write Identity\(")),
    ([nn.relu], "is a function, expected a flax.linen module: wrap it in one"),
    ({"none": Identity()},
      "'none', a name that this package uses itself: rename it"),
    ({"path": Identity()},
      "name 'path' is a name that flax uses itself: rename it"),
    ({"a/b": Identity()}, "name 'a/b' has to be text without a slash: rename"),
    ({3: Identity()}, "name 3 has to be text without a slash: rename it"),
    ({}, "layer has .*: give it a dict of modules by name, or a list of them"),
    (Identity(), "layer has Identity.*: give it a dict of modules by name, or"),
  ],
)  # fmt: skip
def test_operations_that_cannot_be_searched_are_refused(ops, message):
  with pytest.raises(ValueError, match=f"Small: .*{message}"):
    trace(small(ops), IMAGE, 3)


@pytest.mark.parametrize(
  ("call", "got"),
  [
    (lambda layer, x: layer(x, x), "2 arrays"),
    (lambda layer, x: layer(), "0 arrays"),
    (lambda layer, x: layer((x, x)), "tuple"),
    (lambda layer, x: layer(x, train=True), "1 arrays, train"),
    (lambda layer, x: layer(x, None), "NoneType"),
  ],
)
def test_a_choice_takes_one_array(call, got):
  message = f"the Choice layer is called with {got}: a Choice takes one array"
  with pytest.raises(ValueError, match=message):
    trace(functools.partial(Joining, call), IMAGE, 2)


def test_logits_have_to_be_of_the_classes():
  with pytest.raises(ValueError, match=r"returns \(1, 3\), expected.*\(1, 5\)"):
    trace(Model, IMAGE, 5)


def test_a_choice_alone_says_what_is_missing():
  with pytest.raises(ValueError, match="layer_0 runs no operation by itself"):
    Model("search").init(jax.random.key(0), jnp.zeros((1, *IMAGE)))
