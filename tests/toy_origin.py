"""What a run was made of, for tests that write a run folder themselves."""

from hwnas_jax.io.records import DataSet, Origin

DATA = DataSet(
  name="digits",
  digest="ab12",
  image=(8, 8, 1),
  num_classes=10,
  mean=(0.3,),
  std=(0.4,),
  class_names=None,
  num_train=1438,
  num_test=359,
)
ORIGIN = Origin(DATA, {"derived": "cd34"})
