"""The configuration of a run: one model that the schema and the reference are generated from."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, field_validator

from nstcore.config.expressions import parse_threshold
from nstcore.config.inputs import ContentSpec, StyleSpec
from nstcore.config.strict import Folder, Id, SettingsSpec, StrictModel
from nstcore.config.sweep import Condition, Sweep
from nstcore.core.setting_types import EncoderName
from nstcore.core.settings import Settings
from nstcore.errors import did_you_mean

Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Cluster(StrictModel):
    """Length and resources of jobs.  Nothing here changes an image or its key."""

    target_minutes: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        description="How long a job should take on average, and at least half of it: a batch has as many "
        "cells as that takes, across styles and contents unless `batch_by` is given. Empty: ten, or "
        "batches as `batch_by` says where that is given.",
    )
    tflops: Rate | dict[EncoderName, Rate] | None = Field(
        None,
        description="Speed of a job's device: 10^12 operations a second that it reaches in an "
        "optimization, one number or one for each encoder. The length of batches and the `runtime` of "
        "jobs follow from it. `nst plan --calibrate` measures it on the machine it runs on. Empty: 2 for "
        "a GPU, 0.1 for `device: cpu`, both cautious.",
    )
    max_minutes: int | None = Field(
        None,
        ge=5,
        description="Longest `runtime` that a job asks for, such as the limit of a partition; a batch "
        "that takes longer resumes from its last checkpoint in the next attempt. Empty: no limit.",
    )
    memory_gb: float = Field(
        8.0,
        gt=0,
        allow_inf_nan=False,
        description="Memory in GB of the device that a job asks for: it decides how many images are "
        "optimized at a time. A single image that needs more gets more.",
    )
    scratch: str | None = Field(
        None,
        description="Folder on a node's own disk, `$TMPDIR` for example. A job copies encoder weights "
        "and prepared images there when it starts, and reads the copies. Empty: it reads the originals.",
    )


SEED = "seed"
"""Can be ignored in a comparison besides settings."""


class Compare(StrictModel):
    """A comparison of the finished run with others."""

    runs: list[Folder] = Field(
        min_length=1,
        description="Names of runs in the same `results`, or paths of their folders. The first is the "
        "baseline: all others and this run are compared with it.",
    )
    ignore: list[str] = Field(
        [],
        description="Settings, or `seed`, that may differ between two cells that are compared. A setting "
        "with one value in all of a run and another in all of the other is ignored anyway.",
    )
    fail_if: list[str] = Field(
        [],
        description='Limits such as `"style_loss > +5%"`: if this run exceeds one against the baseline, '
        "it ends with an error after all other work.",
    )

    @field_validator("ignore")
    @classmethod
    def _known_settings(cls, value: list[str]) -> list[str]:
        known = [*Settings.model_fields, SEED]
        for name in value:
            if name not in known:
                raise ValueError(f"unknown setting `{name}`; {did_you_mean(name, known)}")
        return value

    @field_validator("fail_if")
    @classmethod
    def _valid_limits(cls, value: list[str]) -> list[str]:
        for text in value:
            parse_threshold(text)
        return value


PARETO = "pareto"


class CellRow(StrictModel):
    """One cell, or all cells that have the given values."""

    style: str | None = None
    content: str | None = None
    setting: str | None = None
    seed: int | None = None


class Refine(StrictModel):
    """Some cells of the finished grid, made again from their results."""

    choose: str | list[CellRow] = Field(
        PARETO,
        description="`pareto`: for each style and content the cells that no other beats in both content "
        "and style loss, those near the knee of that front first. Or a table (.tsv or .csv) with any of "
        "the columns `style`, `content`, `setting`, `seed`, for example with rows copied from `grid.tsv` "
        "or `metrics.csv`. Or a list of such rows.",
    )
    count: int = Field(
        3, ge=1, description="For `choose: pareto`: most cells for each style and content."
    )
    settings: SettingsSpec = Field(
        description="Settings over those of each chosen cell, for example `{size: 1024, iterations: "
        "[150]}`. The cell's image is the start, and the pyramid has only levels larger than it.",
    )

    @field_validator("settings")
    @classmethod
    def _starts_from_the_image(cls, value: SettingsSpec) -> SettingsSpec:
        if not value.explicit:
            raise ValueError("is empty; give at least one setting, for example `size: 1024`")
        for name in ("init", "init_file"):
            if name in value.explicit:
                raise ValueError(f"`{name}` cannot be set: the chosen cell's image is the start")
        return value


Color = Annotated[str, StringConstraints(pattern=r"^#[0-9a-fA-F]{6}$")]
Layout = Annotated[list[str], Field(min_length=0)]


class Report(StrictModel):
    """What the contact sheets and the report look like."""

    title: str | None = Field(None, description="Title of the report; empty: the run's name.")
    rows: Layout | None = Field(
        None, description="Axes shown as rows: `content`, `style`, `seed` or a swept setting."
    )
    cols: Layout | None = Field(
        None, description="Axes shown as columns; empty: every axis not used elsewhere."
    )
    pages: Layout | None = Field(None, description="Axes with one contact sheet for each value.")
    thumbnail: int = Field(
        256, ge=32, le=2048, description="Long side of a sheet's images in pixels."
    )
    single_file: bool | Literal["auto"] = Field(
        "auto",
        description="Whether the report is one file that contains all images and opens anywhere; auto: "
        "if that is under 8 MB.",
    )


class Evaluation(StrictModel):
    """How finished images are measured: alike for every cell, so that cells can be compared."""

    size: int = Field(256, ge=64, le=4096, description="Long side at which images are compared.")
    encoder: EncoderName | None = Field(
        None, description="Encoder that measures; empty: the one of `settings`."
    )
    weights: str | None = Field(
        None, description="File with that encoder's weights; empty: those of `settings`."
    )


class Output(StrictModel):
    """Format of the finished images."""

    format: Literal["png", "jpg", "webp", "tiff"] = Field(
        "png", description="File format of the images; all but `jpg` are lossless."
    )
    bits: Literal[8, 16] = Field(8, description="Bits per channel (16 for png and tiff only).")
    quality: int = Field(95, ge=1, le=100, description="JPEG quality.")
    preserve_alpha: bool = Field(
        False,
        description="Whether an image is transparent where its content is (not for jpg). It is made and "
        "measured as if the content were on `background`.",
    )

    @field_validator("bits")
    @classmethod
    def _bits_fit(cls, value: int, info: Any) -> int:
        name = {"jpg": "JPEG", "webp": "WebP"}.get(info.data.get("format"))
        if value == 16 and name is not None:
            raise ValueError(f"a {name} has 8 bits per channel; use `format: png` or `tiff` for 16")
        return value

    @field_validator("preserve_alpha")
    @classmethod
    def _alpha_fits(cls, value: bool, info: Any) -> bool:
        if value and info.data.get("format") == "jpg":
            raise ValueError("a JPEG has no transparency; use `format: png`, `webp` or `tiff`")
        return value


class Snapshots(StrictModel):
    """Iterates that are kept while an image is made.  Nothing here changes an image or its key."""

    every: int = Field(
        ge=1,
        description="Iterations from one snapshot of an image to the next, for example 20.",
    )
    where: Condition | None = Field(
        None,
        description="Which cells have snapshots: a condition as in `sweep.where`, for example "
        '`"seed == 0 and style_weight > 1"`. Empty: all.',
    )
    size: int = Field(
        256,
        ge=32,
        le=2048,
        description="Long side of a snapshot in pixels; smaller levels of the pyramid stay as they are.",
    )


class Config(StrictModel):
    """One run."""

    run: Id = Field("run", description="Name of the run: results are in `<results>/<run>/`.")
    contents: str | list[str] | dict[Id, ContentSpec] = Field(
        description="Images to stylize: a folder, a glob, a list of files, folders and globs, a table "
        "`*.tsv`, or a map of ids to files. Paths start from the folder where the command is run. In a "
        "map, a content can also be `{path: file, settings: {...}, guide: ...}`, with settings and "
        "regions of its own."
    )
    styles: str | list[str] | dict[Id, StyleSpec] = Field(
        description="Images whose style is taken, written like `contents`. In a map, a style can also be "
        "a list of files or a map of files to weights (a blend), or `{path: file, settings: {...}, "
        "guide: ...}`, with `paths` in place of `path` for a blend, or `regions` for a style of each "
        "region."
    )
    settings: SettingsSpec = Field(SettingsSpec(), description="Settings of all cells.")
    sweep: Sweep = Field(Sweep(), description="Settings that vary, and repetitions.")
    batch_by: list[str] = Field(
        ["style", "content"],
        description="Axes with a job for each value (`style`, `content`, `seed`, or a swept setting); "
        "all cells along the other axes are optimized together in one process. Without this key jobs "
        "are as long as pays: a small grid is a single job, a large one has jobs of some ten minutes.",
    )
    workers: int = Field(
        1,
        ge=1,
        description="How many jobs that optimize run at the same time on this machine: a grid becomes "
        "at least as many. By default `nst run` sets it to the GPUs that it is given (`--resources "
        "gpu=4`), or without a GPU to as many cores as memory and the length of the grid allow.",
    )
    max_cells_per_batch: int = Field(
        256, ge=1, description="A job with more cells than this is split into several."
    )
    batch_split: int | None = Field(
        None,
        ge=1,
        description="Into how many jobs every batch is split; empty: as few as `max_cells_per_batch` "
        "allows, a power of two.",
    )
    batch_size: int | None = Field(
        None,
        ge=1,
        description="Most images optimized at the same time; empty: as many as memory allows.",
    )
    device: Literal["auto", "cpu", "cuda", "mps"] = Field(
        "auto", description="Device that optimizes; auto: CUDA, else MPS, else the CPU."
    )
    checkpoint_seconds: float = Field(
        180.0,
        gt=0,
        description="Seconds between two checkpoints of the images that are being made; a job that is "
        "repeated after a kill resumes from the last one. A checkpoint is about `2 * history` times as "
        "large as the image in 32 bits.",
    )
    tile: int | None = Field(
        None,
        ge=64,
        description="Side in pixels of the tiles in which images are computed. Tiles bound the memory "
        "and do not change the result. Empty: tiles only where whole images do not fit.",
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="Number format of the encoder's convolutions during the optimization; losses, "
        "optimizer and metrics are always float32. auto: bfloat16 on a GPU that has it, else float32. "
        "On a CPU with AVX512-BF16 bfloat16 is faster too.",
    )
    deterministic: bool = Field(
        False,
        description="Whether a repeat on the same device with the same versions must give the same "
        "bytes. On a CPU with as many threads it does anyway; a GPU gets slower. Give `batch_size` too: "
        "otherwise the free memory decides which images are computed together, which changes the last "
        "bits.",
    )
    cluster: Cluster = Field(Cluster(), description="Length and resources of jobs.")
    background: Color = Field("#ffffff", description="Color behind transparent images.")
    output: Output = Field(Output(), description="Files of the finished images.")
    evaluation: Evaluation = Field(Evaluation(), description="How finished images are measured.")
    report: Report = Field(Report(), description="Layout of contact sheets and report.")
    snapshots: Snapshots | None = Field(
        None,
        description="Snapshots of images while they are made, which the report shows under a slider and "
        "`nst film` makes films of; empty: none. They are in `snapshots/` in the run's folder. A cell "
        "that is in the store already is not made again and gets none.",
    )
    refine: Refine | None = Field(
        None,
        description="Cells to make again, larger, when the grid is finished; empty: none.",
    )
    compare: Compare | None = Field(
        None, description="Other runs to compare this one with at its end; empty: none."
    )
    allow_failures: bool = Field(
        False,
        description="Whether a run with failed cells counts as a success. If not, it ends with an error "
        "after all other work, and the next call tries those cells again.",
    )
    results: Folder = Field("results", description="Folder of all runs.")
    store: Folder | None = Field(
        None,
        description="Folder with every finished cell, shared by runs; empty: `<results>/.store`.",
    )

    @property
    def run_dir(self) -> str:
        """The folder of this run's results."""
        return f"{self.results}/{self.run}"

    @property
    def store_dir(self) -> str:
        """The folder of the content-addressed store."""
        return self.store or f"{self.results}/.store"


def schema() -> dict[str, Any]:
    """The configuration's JSON Schema (draft 2020-12)."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Config.model_json_schema(),
    }


def schema_text() -> str:
    """The text of ``workflow/schemas/config.schema.json``."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"
