"""The configuration's reference, ``config/README.md``, written from the model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from nstcore.config.run import Cluster, Compare, Config, Evaluation, Output, Refine, Report
from nstcore.config.sweep import Sample, Sweep
from nstcore.core.metrics import METRICS
from nstcore.core.presets import PRESETS
from nstcore.core.settings import Settings


def schema() -> dict[str, Any]:
    """The configuration's JSON Schema (draft 2020-12), generated from the model."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Config.model_json_schema(),
    }


def schema_text() -> str:
    """The schema as it stands in ``workflow/schemas/config.schema.json``."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


# --- The configuration's reference, ``config/README.md``, written from the model. ---

_INTRODUCTION = """\
# Configuration

One YAML file describes a run: pictures, settings, and what varies. `config.yaml` in this folder
is the demo's, with comments. A key that does not exist is an error, and all mistakes are shown at
once.

This page is made from the model in `nstcore/config`; `nst schema` prints the same as a JSON
Schema for editors (also in `workflow/schemas/`).

## Pictures

`contents` and `styles` are a folder, a glob (`photos/*.jpg`), a list of files, folders and globs,
a map of ids to files, or a sheet. Without a map, a picture's id is its file's name. Ids stand in
paths and on contact sheets. PNG, JPEG, WebP and TIFF are read, with 8 or 16 bits, upright,
converted to sRGB. Paths start from the folder where the command is run.

```yaml
contents: photos/
styles:
  wave: paintings/great_wave.jpg
  dusk: {paintings/scream.jpg: 0.7, paintings/night.jpg: 0.3}   # a blend
  glass: {path: paintings/window.jpg, settings: {style_scale: 2}}
```

An entry with `settings` has them for itself, over those of the grid; a setting that an axis varies
cannot be among them. They stand in the records, not in the names of files. `contents` or `styles`
may also be a sheet: a text file `*.tsv` with tabs between its columns `id`, `path` and any settings.

```
id      path            size    style_weight
cat     photos/cat.jpg  512
sea     photos/sea.jpg          30
```

An empty field is a setting that is not given.

## Regions

A content may have a `guide`, which divides it into regions: a picture in flat colours, one for each
region and without smoothing, whose colours are the regions' names; or a map of names to greyscale
pictures, white where the region is. A guide has the proportions of its picture.

```yaml
contents:
  cat: {path: cat.png, guide: cat_guide.png}
  sea: {path: sea.jpg, guide: {sky: sea_sky.png, water: sea_water.png}}
styles:
  wave: great_wave.jpg                                     # serves all regions
  dusk: {path: scream.jpg, guide: scream_guide.png}        # each region takes the one of its name
  both:                                                    # each region has a style of its own
    regions:
      "#ff0000": great_wave.jpg
      "#0000ff": {path: night.jpg, guide: night_guide.png}
```

Styles are then compared region by region (Gatys et al. 2017, arXiv 1611.07865, section 4). A region
counts by its share of the area: a pixel feels the same pull to its style in a small region as in a
large one, and as without a guide. `region_weights` multiplies it. A region that covers less than
one position of a layer is left out there, and the log says so. The content loss and
`tv_weight` know no regions. A style with regions must have all those of the contents it meets. A
content without a guide sees a painting with a guide as a whole, and cannot have a style of `regions`.

## The grid

Every content is stylized with every style, at every point of the product of `sweep.axes`, with
every seed. An axis is any setting with its values:

```yaml
settings:
  size: 512
sweep:
  axes:
    style_weight: {log: [3, 300], num: 5}
    optimizer: [lbfgs, adam]
  seeds: 2                     # needs a start with noise: init_noise, or init: noise or style
```

With the default losses one `style_weight` looks alike for all pictures and sizes: around 1 the
content is barely touched, around 10 strokes follow its forms, from 100 on little more than the
style is left.

Values are a list, or lie between two ends, which are met exactly:

- `{range: [256, 512], step: 128}`: 256, 384, 512;
- `{range: [0, 1], num: 5}`: 0, 0.25, 0.5, 0.75, 1;
- `{log: [10, 1000], num: 5}`: 10, 31.6228, 100, 316.228, 1000. What needs more than twelve digits
  is rounded to six, and to a whole number for a setting that has no others.

An axis with another name is a bundle: several settings under one name, perhaps with a title for
sheets and report. It may set what `settings` sets too.

```yaml
sweep:
  axes:
    style_weight: [3, 30, 300]
    tv_weight: [0, 8]
    iterations: [100, 400]
    optimizer: [lbfgs, adam]
    look:
      soft: {title: "Soft", pooling: avg, style_layers: {relu1_1: 0.5, relu3_1: 1}}
      hard: {title: "Hard", pooling: max}
  zip: [[optimizer, iterations]]                   # lbfgs with 100, adam with 400
  exclude: [{style: wave, tv_weight: 0}]           # cells with all of these values
  where: "style_weight <= 30 or look == 'hard'"    # what holds for all that are left
  include: [{style_weight: 5000, content: cat}]    # cells added after that
```

`exclude` and `include` name some axes, `style`, `content` and `seed` among them; the others have
all their values. An entry of `exclude` that matches no cell of the product, and one of `include`
that adds none, is an error. `where` compares axes and any other settings with numbers, texts in
quotes, `true`, `false`, `none` and lists: `== != < <= > >= in`, `not in`, `and or not`, `+ - * /`
and parentheses; layers are asked for as in `'relu4_2' in content_layers`. Cells that are left out
are empty places on the sheets.

Where the product is too large, `sample` takes some of its points instead:

```yaml
sweep:
  axes:
    style_weight: {log: [1, 1000]}                 # without num: any value, drawn
    tv_weight: {uniform: [0, 8]}
    pooling: [max, avg]
  sample: {method: lhs, n: 200, seed: 0}           # or sobol, or random
```

Every style and content has the same `n` points, all different. Of a list every value is drawn
equally often on average; between two ends, of `log` on a logarithmic scale, values are rounded to
four digits. A point that comes twice is replaced by a further draw. The same sample is drawn
whenever the configuration is read, and the points are written into the configuration of a run that
starts. With `sobol` and `random` a larger `n` keeps the points of a smaller one. `sample.axes`
names the axes that are drawn, if not all, and may name `style`, `content` and `seed`; all others
keep their product. `exclude`, `where` and `include` work as before; an entry of `exclude` may then
match nothing.
"""

_PATHS = """\
## Jobs

`batch_by` names the axes that get a job for each of their values; all cells along the other axes
are optimized together in one process. `[style, content]` (the default) suits many settings,
`[style]` many contents with few settings. Or give a length: with
`cluster.target_minutes` batches are made of as many cells as a job of that length does, whatever the
axes: with `target_minutes: 10` 10,000 cells of 12 s become 200 to 400 jobs of 5 to 10 minutes.

```yaml
cluster:
  target_minutes: 30
  tflops: {compact: 0.2, vgg19: 0.4}      # as `nst plan --calibrate` prints it on a node
```

The time of a cell is counted from its encoder, size and iterations, and nothing is measured when the
workflow starts: every machine finds the same batches. They are powers of two of hash buckets: another
picture or value moves no cell into another batch, unless there is so much more to do that the buckets
double. Where they do, or where `cluster` changes, the jobs of the new batches link what is finished.
Jobs ask for `runtime` and `mem_mb` (and `gpu_mem_mb`, which no scheduler knows by itself) by the same
count, with a margin and for more at each attempt. `nst plan` tells how many jobs there are and what
they ask for; `nst status results/<run>` how far they are.

Adding a picture or a value computes no cell again. A cell is known by what determines it: its
settings, the pixels of its pictures, the encoder's weights. Where two runs share a cell they share
its file in the store (`<results>/.store`), and when both want it at the same time one of them makes
it; `nst gc` empties the store of cells that no run refers to.
"""

_REFINE = """\
## Refinement

`refine` makes chosen cells again, larger, when the grid is finished. Each starts from its own small
picture, so that the composition stays and only the fine levels are computed:

```yaml
refine:
  choose: pareto                # or a table with rows of grid.tsv, or such rows
  count: 3                      # for each style and content
  settings: {size: 1024, iterations: [150]}
```

The pictures stand in `refined/`, beside the small ones on the sheet `refined`, and as rows of
`refined.csv`. A refined cell is known by its small picture, too: it is computed again only when that
changes.

"""

_COMPARE = """\
## Comparison

`compare` puts the finished run beside others, of the same results folder or elsewhere:

```yaml
compare:
  runs: [last_week]             # the first is the baseline
  ignore: [iterations]          # settings that may differ between two cells that are compared
  fail_if: ["style_loss > +5%", "broken > 0"]
```

The result stands in `compare/`. [docs/compare.md](../docs/compare.md) says how cells find each other,
what is computed and which limits there are; `nst compare` does the same for any runs.

"""

_METRICS = """\
## Metrics

Every cell is measured at the size of `evaluation`, under its encoder. `metrics.csv` has a column for each
metric; limits in `compare.fail_if` name them. With a guide, what is compared with the style is compared
region by region, and the mean weighted by area is taken.

"""

_PRESETS = """\
`fast` and `best` leave the style weight and the size as they are, and `fast` the encoder. At the
same style weight `statistic: w2` changes the picture about as much as `gram` with the compact
encoder, and less with `vgg19`. What they are worth is measured in
[benchmarks/results/presets.md](../benchmarks/results/presets.md).

"""

_GATYS = """\
`gatys` has the article's formulas, layers and weights. Its authors also rescaled the network to a
mean activation of one, which torchvision's weights are not: activations here are some hundred times
larger, the style loss grows with their fourth power and the content loss with their square, so that
at these weights hardly more than the style is left. Lower `style_weight` to bring the content back.
"""


def reference_text() -> str:
    """The whole page, as Markdown."""
    parts = [_INTRODUCTION, _PATHS, _REFINE, _COMPARE]
    parts.append("## Keys\n\n" + _table(Config, ""))
    for name, model in (
        ("sweep", Sweep),
        ("sweep.sample", Sample),
        ("output", Output),
        ("evaluation", Evaluation),
        ("report", Report),
        ("refine", Refine),
        ("compare", Compare),
        ("cluster", Cluster),
    ):
        parts.append(f"### {name}\n\n" + _table(model, f"{name}."))
    parts.append(
        "## Settings\n\nUnder `settings`, as an axis of `sweep.axes`, or with `nst stylize --set`.\n\n"
        + _table(Settings, "")
    )
    parts.append(_METRICS + _metrics_table())
    parts.append("## Presets\n\n" + "\n".join(_presets()) + "\n\n" + _PRESETS + _GATYS)
    return "\n".join(parts)


def _table(model: type[BaseModel], prefix: str) -> str:
    lines = ["| key | values | default | meaning |", "|---|---|---|---|"]
    schema = model.model_json_schema()
    for name, field in model.model_fields.items():
        values = _values(schema["properties"][name], schema.get("$defs", {}))
        cells = [f"`{prefix}{name}`", values, _default(field), field.description or ""]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _metrics_table() -> str:
    rows = [
        f"| `{one.name}` | {one.formula}{f' ({one.unit})' if one.unit else ''} | {one.better or ''} |"
        for one in METRICS.values()
    ]
    return "\n".join(["| column | what it is | better |", "|---|---|---|", *rows]) + "\n"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "(required)"
    value = field.default
    if isinstance(value, BaseModel):
        return "see below"
    return "(empty)" if value is None else f"`{json.dumps(value)}`"


def _values(schema: dict[str, Any], definitions: dict[str, Any]) -> str:
    """A property's type and range in words."""
    if "$ref" in schema or "allOf" in schema:
        return "keys, see below"
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if "anyOf" in schema:
        kinds = [_values(part, definitions) for part in schema["anyOf"] if part != {"type": "null"}]
        return " or ".join(dict.fromkeys(kinds))
    kind = schema.get("type", "any")
    if kind == "array":
        inner = _values(schema["items"], definitions) if schema.get("items") else "values"
        return f"list of {inner}" if inner != "any" else "list"
    if kind == "object":
        return "map"
    words = {"string": "text", "integer": "integer", "number": "number", "boolean": "true, false"}
    return str(words.get(kind, kind)) + _range(schema)


def _range(schema: dict[str, Any]) -> str:
    parts = [
        f"{sign} {_number(schema[key])}"
        for key, sign in (
            ("minimum", "≥"),
            ("exclusiveMinimum", ">"),
            ("maximum", "≤"),
            ("exclusiveMaximum", "<"),
        )
        if key in schema
    ]
    return f" {', '.join(parts)}" if parts else ""


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else str(value)


def _presets() -> Iterator[str]:
    for name, values in PRESETS.items():
        listed = ", ".join(f"`{key}: {json.dumps(value)}`" for key, value in values.items())
        yield f"- `preset: {name}`: {listed}. What is set beside it overrides it."
