"""Records: every one comes back from JSON; what is wrong is named by place."""

import json
import math

import msgspec
import pytest
from toy_origin import DATA, ORIGIN

from hwnas_jax.io import certificates, exports, records
from hwnas_jax.io.certificates import (
  Budget,
  Certificate,
  Committee,
  Finalist,
  Margin,
  Rival,
  Scores,
  TableIdentity,
  Tried,
  Vote,
)
from hwnas_jax.io.exports import Export, Program
from hwnas_jax.io.records import (
  Accuracies,
  Baseline,
  Collapse,
  ComfortZone,
  Condition,
  Device,
  Family,
  MadeWith,
  Measurement,
  Member,
  Network,
  ScaledNetwork,
  Settings,
  Shares,
  SweepPoint,
  Teacher,
)

ARCHITECTURE = {"edge 0": "skip", "edge 1": "conv"}
CONDITION = Condition((0.25, 0.75), 0.5)
MEASUREMENT = Measurement(1.5, 0.125, 1.25, 30)
VERSIONS = {"jax": "0.10.2", "git": None}
DEVICE = Device(
  platform="cpu",
  device_kind="cpu",
  platform_version="1.0",
  cpu_model="EPYC",
  cpu_cores=2,
  jaxlib="0.10.2",
  xla_flags="--a",
)
TEACHER = Teacher("b2", "ab12")
ACCURACIES = Accuracies(0.75, (0.5, 1.0), 0.625, TEACHER, "cd34")
MEMBER = Member(
  id="a1",
  name="scale 0.5",
  kind="member",
  condition=CONDITION,
  architecture=ARCHITECTURE,
  params=1000,
  op_params=900,
  macs=50_000,
  latency=MEASUREMENT,
  predicted_ms=1.375,
  accuracies=ACCURACIES,
  kept=True,
)
RANDOM = Member(
  id="b2",
  name="random 0",
  kind="random",
  condition=None,
  architecture=ARCHITECTURE,
  params=1,
  op_params=0,
  macs=2,
)
BESIDE = Baseline("largest", "a1", "b2")
COLLAPSE = Collapse(
  entropy=0.5,
  undecided=0.25,
  soft_accuracy=0.75,
  path_accuracy=0.625,
  discrete_accuracy=0.5,
  skip_share=0.125,
  alarms=("most choices are skips",),
)
POINT = SweepPoint("scale 0.5", CONDITION, "a1", COLLAPSE)
SHARES = Shares(CONDITION, {"skip": 0.5, "conv": 0.5})
MARGIN = Margin(
  ratio=1.125,
  nominal_level=0.95,
  attained_level=0.9375,
  guaranteed_level=0.875,
  networks=20,
)
TRIED = Tried(1.375, MEASUREMENT, "both")
TABLE = TableIdentity("cpu-epyc-2core-1a2b3c4d", "ab12")
SCALED = ScaledNetwork(
  channels=(16, 64),
  image=(8, 8),
  macs=3,
  params=4,
  latency=MEASUREMENT,
  over_found=(1.0, 1.25),
  overrides=("--config.space.channels=32",),
  needs_images=None,
)
FAMILY = Family(
  ops=("skip", "conv"),
  choices=("edge 0", "edge 1"),
  latency_batch_size=32,
  base_latency_ms=0.5,
  priced=("conv",),
  members=(MEMBER, RANDOM),
  sweep=(POINT,),
  shares=(SHARES,),
  baselines=(BESIDE,),
  cost="macs",
  num_test=360,
)
VOTE = Vote(judge="nwot", weight=1.0, score=None, place=4)
COMMITTEE = Committee(
  compared=50, place=2, votes=(VOTE,), left_out={"jacov": "no gradients"}
)
LARGEST = Rival(
  id="a1",
  architecture=ARCHITECTURE,
  macs=2000,
  predicted_ms=1.375,
  measured=MEASUREMENT,
  test_accuracy=0.75,
)
REFERENCE = msgspec.structs.replace(LARGEST, predicted_ms=None, width=1.5)
FINALIST = Finalist(
  id="a1",
  source="capacity",
  predicted_ms=1.375,
  measured=None,
  steps=20,
  seconds=2.5,
  held_out_accuracy=0.75,
)
SCORES = Scores(
  digest="ab12",
  scores={"nwot": {"a1": 1.5, "b2": None}},
  left_out={"jacov": "no gradients"},
)
CERTIFICATE = Certificate(
  kind="measured",
  budget=Budget("60%", 1.5, {"params": 1e4}),
  predicted_ms=1.375,
  measured=MEASUREMENT,
  tried=(TRIED, TRIED),
  margin=MARGIN,
  source="both",
  candidates={"controller": 30, "both": 3},
  unconstrained_best_fits=False,
  simplex=(0.25, 0.75),
  simplex_residual=0.125,
  largest=LARGEST,
  random=(LARGEST,),
  reference=REFERENCE,
  committee=COMMITTEE,
  finalists=(FINALIST,),
  batch_size=32,
  table=TABLE,
  device=DEVICE,
  versions=VERSIONS,
  weights="trained",
  accuracies=ACCURACIES,
)
COMFORT_ZONE = ComfortZone(
  id="a1",
  batch_size=1,
  tolerance=0.02,
  knee=SCALED,
  points=(SCALED, msgspec.structs.replace(SCALED, needs_images=(16, 16))),
  versions=VERSIONS,
  device=DEVICE,
)
SETTINGS = Settings(
  2, {"seed": 0, "space": {"name": "darts"}}, "main --a=b", ORIGIN
)
MADE_WITH = MadeWith(VERSIONS, DEVICE, "cpu-epyc-2core-1a2b3c4d")
PROGRAM = Program(
  sha256="ab12",
  layout="NCHW",
  batch=None,
  input="images",
  output="logits",
  opset=18,
  platforms=("cpu",),
  runtime="onnxruntime 1.20.0",
  latency=MEASUREMENT,
  largest_difference=1e-6,
  test_accuracy=0.75,
)
EXPORT = Export(
  id="a1",
  architecture=ARCHITECTURE,
  num_classes=2,
  class_names=("cat", "dog"),
  pixels=(0, 255),
  dtype="float32",
  image=(8, 8, 1),
  mean=(0.5,),
  std=(0.25,),
  batch_size=32,
  test_accuracy=0.75,
  latency=MEASUREMENT,
  largest_logit=12.5,
  programs={"network.onnx": PROGRAM},
  refused={"network.gpu.stablehlo": "why"},
  versions=VERSIONS,
  device=DEVICE,
)
EXAMPLES = (
  *(
    ACCURACIES,
    BESIDE,
    CERTIFICATE.budget,
    CERTIFICATE,
    COLLAPSE,
    COMFORT_ZONE,
  ),
  *(CONDITION, DEVICE, EXPORT, FAMILY, MADE_WITH, MARGIN, MEASUREMENT, MEMBER),
  *(
    Network(ARCHITECTURE),
    PROGRAM,
    SCALED,
    SETTINGS,
    SHARES,
    POINT,
    TABLE,
    TRIED,
  ),
  *(TEACHER, VOTE, COMMITTEE, LARGEST, FINALIST, SCORES, DATA, ORIGIN),
)
FIELDS = [
  pytest.param(record, field, id=f"{type(record).__name__}.{field.name}")
  for record in EXAMPLES
  for field in msgspec.structs.fields(record)
]


def read(document, kind):
  return records.from_json("file.json", document, kind)


def test_every_record_has_an_example():
  kinds = {
    kind
    for module in (records, certificates, exports)
    for kind in vars(module).values()
    if isinstance(kind, type) and issubclass(kind, records.Record)
  }
  assert kinds - {records.Record} == {type(record) for record in EXAMPLES}


@pytest.mark.parametrize("record", EXAMPLES, ids=lambda r: type(r).__name__)
def test_a_record_comes_back_from_its_file(record, tmp_path):
  path = tmp_path / "a" / "file.json"
  records.write(path, record)
  assert records.read(path, type(record)) == record
  assert records.from_json("", records.to_json(record), type(record)) == record


@pytest.mark.parametrize("record", EXAMPLES, ids=lambda r: type(r).__name__)
def test_defaults_may_be_left_out_of_a_file(record):
  document = records.to_json(record)
  fields = msgspec.structs.fields(record)
  wanted = {f.name: getattr(record, f.name) for f in fields if f.required}
  filled = read({name: document[name] for name in wanted}, type(record))
  assert filled == type(record)(**wanted)


@pytest.mark.parametrize("record", EXAMPLES, ids=lambda r: type(r).__name__)
def test_a_record_is_frozen_and_names_an_unknown_field(record):
  name = msgspec.structs.fields(record)[0].name
  with pytest.raises(AttributeError):
    setattr(record, name, None)
  document = records.to_json(record) | {"colour": 1}
  with pytest.raises(ValueError, match=r"^file\.json: .*unknown .*`colour`"):
    read(document, type(record))


@pytest.mark.parametrize(("record", "field"), FIELDS)
def test_a_field_is_refused_where_it_is_missing_or_of_another_type(
  record, field
):
  document = records.to_json(record)
  # No field takes a list of objects, so this is wrong for all.
  wrong = document | {field.name: [{"a": [1]}]}
  with pytest.raises(ValueError, match=rf"^file\.json: .*`\$\.{field.name}"):
    read(wrong, type(record))
  document.pop(field.name, None)
  if field.required:
    message = rf"^file\.json: .*missing required field `{field.name}`"
    with pytest.raises(ValueError, match=message):
      read(document, type(record))


@pytest.mark.parametrize(
  ("change", "place"),
  [
    (lambda d: d["members"][1].update(params="1"), "$.members[1].params"),
    (lambda d: d["members"][0].update(params=1.5), "$.members[0].params"),
    (lambda d: d["members"][0].update(kept=1), "$.members[0].kept"),
    (lambda d: d["members"][0].update(kind="best"), "$.members[0].kind"),
    (
      lambda d: d["members"][0]["latency"].update(iqr_ms=None),
      "$.members[0].latency.iqr_ms",
    ),
    (
      lambda d: d["members"][0]["architecture"].update({"edge 0": 3}),
      "$.members[0].architecture[...]",
    ),
    (lambda d: d["members"][0].pop("macs"), "$.members[0]"),
    (
      lambda d: d["sweep"][0]["collapse"].update(colour=1),
      "$.sweep[0].collapse",
    ),
    (
      lambda d: d["sweep"][0]["condition"].update(scale=True),
      "condition.scale",
    ),
    (lambda d: d.update(schema=1), "$.schema"),
    (lambda d: d.update(schema=3), "$.schema"),
  ],
)
def test_a_fault_is_named_by_its_place(change, place):
  document = json.loads(json.dumps(records.to_json(FAMILY)))
  change(document)
  with pytest.raises(ValueError, match=r"^file\.json: ") as error:
    read(document, Family)
  assert place in str(error.value)


def test_whole_numbers_are_read_as_floats_too():
  measured = read({"median_ms": 2, "iqr_ms": 0}, Measurement)
  assert measured == Measurement(2.0, 0.0)
  assert isinstance(measured.median_ms, float)


@pytest.mark.parametrize("document", [None, [], "a", 1])
def test_what_is_no_object_is_refused(document):
  with pytest.raises(ValueError, match=r"^file\.json: Expected `object`"):
    read(document, Measurement)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_is_not_written(value, tmp_path):
  path = tmp_path / "file.json"
  bad = msgspec.structs.replace(MEMBER, predicted_ms=value)
  with pytest.raises(ValueError, match=r"file\.json was not written"):
    records.write(path, msgspec.structs.replace(FAMILY, members=(bad,)))
  assert not path.exists()


def test_an_absent_file_and_a_damaged_one_are_told_apart(tmp_path):
  with pytest.raises(FileNotFoundError, match="file.json"):
    records.read(tmp_path / "file.json", Measurement)
  (tmp_path / "file.json").write_text('{"median_ms": 1')
  with pytest.raises(ValueError, match="file.json is not valid JSON"):
    records.read(tmp_path / "file.json", Measurement)
