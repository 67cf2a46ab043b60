"""The configuration of a run: one model, from which schema and documentation are generated."""

from __future__ import annotations

import difflib
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, field_validator

from nstcore.config.inputs import ContentSpec, StyleSpec
from nstcore.config.strict import Folder, Id, SettingsSpec, StrictModel
from nstcore.config.sweep import Sweep
from nstcore.config.thresholds import parse_threshold
from nstcore.core.encoders.layers import EncoderName
from nstcore.core.settings import Settings

Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Cluster(StrictModel):
    """Length and resources of jobs.  Nothing here changes a picture or its key."""

    target_minutes: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        description="How long a job shall take on average, half of it at least: batches are made of as "
        "many cells as that needs, across styles and contents where `batch_by` is not given. Empty: "
        "batches as `batch_by` and `max_cells_per_batch` say.",
    )
    tflops: Rate | dict[EncoderName, Rate] | None = Field(
        None,
        description="How fast a job's device is: 10^12 operations a second that a descent makes on it, "
        "one number or one for each encoder. Length of batches and `runtime` of jobs follow from it. "
        "`nst plan --calibrate` measures it where it runs. Empty: 2 for a GPU, 0.1 for `device: cpu`, "
        "both cautious.",
    )
    max_minutes: int | None = Field(
        None,
        ge=5,
        description="Longest `runtime` that a job asks for, such as the limit of a partition; a batch "
        "that takes longer goes on from its last state in its next attempt. Empty: no limit.",
    )
    memory_gb: float = Field(
        8.0,
        gt=0,
        allow_inf_nan=False,
        description="Memory in GB, of the device that computes, into which a job tries to fit when it "
        "asks for memory: it decides how many pictures are optimized at a time. One picture that needs "
        "more gets more.",
    )
    scratch: str | None = Field(
        None,
        description="Folder on a node's own disk, `$TMPDIR` for example, where encoders' weights and "
        "prepared pictures are copied when a job starts and read from then on. Empty: they are read "
        "where the run stands.",
    )


# --- Which other runs a run is compared with when it is finished. ---

SEED = "seed"
"""What may be left out of a cell's identity besides settings."""


class Compare(StrictModel):
    """A comparison of the finished run with others."""

    runs: list[Folder] = Field(
        min_length=1,
        description="Names of runs in the same `results`, or paths of their folders. The first is the "
        "baseline, which all others and this run are compared with.",
    )
    ignore: list[str] = Field(
        [],
        description="Settings, or `seed`, that may differ between two cells that are compared. What has "
        "one value throughout a run and another throughout the other is left out by itself.",
    )
    fail_if: list[str] = Field(
        [],
        description='Limits such as `"style_loss > +5%"`: if this run exceeds one against the baseline, '
        "it ends with an error after everything else is done.",
    )

    @field_validator("ignore")
    @classmethod
    def _settings(cls, value: list[str]) -> list[str]:
        known = [*Settings.model_fields, SEED]
        for name in value:
            if name not in known:
                close = difflib.get_close_matches(name, known, n=1)
                meant = f"; did you mean `{close[0]}`?" if close else ""
                raise ValueError(f"there is no setting `{name}`{meant}")
        return value

    @field_validator("fail_if")
    @classmethod
    def _limits(cls, value: list[str]) -> list[str]:
        for text in value:
            parse_threshold(text)
        return value


# --- Which cells are made again, larger, from their own results. ---

PARETO = "pareto"


class Row(StrictModel):
    """One chosen cell, or all that have what it names."""

    style: str | None = None
    content: str | None = None
    setting: str | None = None
    seed: int | None = None


class Refine(StrictModel):
    """Chosen cells of the finished grid, made again from where they ended."""

    choose: str | list[Row] = Field(
        PARETO,
        description="`pareto`: for each style and content the cells that no other beats in both content "
        "and style loss, those near the knee of that front first. Or a table (.tsv or .csv) with any of "
        "the columns `style`, `content`, `setting`, `seed`, as in `grid.tsv` and `metrics.csv`: rows "
        "copied from there will do. Or such rows themselves.",
    )
    count: int = Field(
        3, ge=1, description="Most cells for each style and content, for `choose: pareto`."
    )
    settings: SettingsSpec = Field(
        description="Settings on top of each chosen cell's own, for example `{size: 1024, iterations: "
        "[150]}`. The cell's picture is the start, and the pyramid has only levels larger than it.",
    )

    @field_validator("settings")
    @classmethod
    def _with_the_picture_as_start(cls, value: SettingsSpec) -> SettingsSpec:
        given: dict[str, Any] = value.explicit
        if not given:
            raise ValueError("is empty; give at least one setting, for example `size: 1024`")
        for name in ("init", "init_file"):
            if name in given:
                raise ValueError(f"`{name}` cannot be set: the chosen cell's picture is the start")
        return value


# --- The configuration of a run: one model, from which schema and documentation are generated. ---

Color = Annotated[str, StringConstraints(pattern=r"^#[0-9a-fA-F]{6}$")]
Layout = Annotated[list[str], Field(min_length=0)]


class Report(StrictModel):
    """How the contact sheets and the report are laid out."""

    title: str | None = Field(None, description="Title of the report; empty: the run's name.")
    rows: Layout | None = Field(
        None, description="Axes shown as rows: `content`, `style`, `seed` or a swept setting."
    )
    cols: Layout | None = Field(
        None, description="Axes shown as columns; empty: every axis not used elsewhere."
    )
    pages: Layout | None = Field(None, description="Axes with one contact sheet for each value.")
    thumbnail: int = Field(
        256, ge=32, le=2048, description="Long side of a sheet's pictures in px."
    )
    single_file: bool | Literal["auto"] = Field(
        "auto",
        description="Whether the report is one file with every picture inside, which opens anywhere; "
        "auto: when all of it is under 8 MB.",
    )


class Evaluation(StrictModel):
    """How finished pictures are measured: the same for every cell, so that they can be compared."""

    size: int = Field(256, ge=64, le=4096, description="Long side at which pictures are compared.")
    encoder: EncoderName | None = Field(
        None, description="Encoder that judges; empty: the one of `settings`."
    )
    weights: str | None = Field(
        None, description="File with the judging encoder's weights; empty: those of `settings`."
    )


class Output(StrictModel):
    """The files that hold the finished pictures."""

    format: Literal["png", "jpg", "webp", "tiff"] = Field(
        "png", description="File format of the pictures; all but `jpg` are without loss."
    )
    bits: Literal[8, 16] = Field(8, description="Bits per channel (16 for png and tiff only).")
    quality: int = Field(95, ge=1, le=100, description="JPEG quality.")
    preserve_alpha: bool = Field(
        False,
        description="Whether a picture is transparent where its content is (not for jpg). It is made "
        "as if the content stood on `background`, which is also what it is measured by.",
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


class Config(StrictModel):
    """One run."""

    run: Id = Field("run", description="Name of the run: results stand in `<results>/<run>/`.")
    contents: str | list[str] | dict[Id, ContentSpec] = Field(
        description="Pictures to be stylized: a folder, a glob, a list of files, folders and globs, a "
        "sheet `*.tsv`, or a map of ids to files. Paths start from the folder where the command is run. "
        "In a map, a content may also be `{path: file, settings: {...}, guide: ...}`, with settings and "
        "regions of its own."
    )
    styles: str | list[str] | dict[Id, StyleSpec] = Field(
        description="Pictures whose style is taken, like `contents`. In a map, a style may also be a "
        "list of files or a map of files to weights: a blend; or `{path: file, settings: {...}, "
        "guide: ...}`, with `paths` in place of `path` for a blend, or `regions` for a style of each "
        "region."
    )
    settings: SettingsSpec = Field(
        SettingsSpec(), description="Settings that are the same for all cells."
    )
    sweep: Sweep = Field(Sweep(), description="Settings that vary, and repetitions.")
    batch_by: list[str] = Field(
        ["style", "content"],
        description="Axes that get a job for each value (`style`, `content`, `seed`, or a swept "
        "setting); all cells along the other axes are optimized together in one process.",
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
        description="Most pictures optimized at the same time; empty: as many as memory allows.",
    )
    device: Literal["auto", "cpu", "cuda", "mps"] = Field(
        "auto", description="Where pictures are optimized; auto: CUDA, else MPS, else the CPU."
    )
    checkpoint_seconds: float = Field(
        180.0,
        gt=0,
        description="Seconds between two saved states of the pictures that are being made; a job that "
        "is repeated after a kill goes on from the last. A state is about `2 * history` times as large "
        "as the picture in 32 bits.",
    )
    tile: int | None = Field(
        None,
        ge=64,
        description="Side in pixels of the tiles in which pictures are computed, which bounds the "
        "memory and changes nothing in the result; empty: tiles only where whole pictures do not fit.",
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="In what the encoder convolves while a picture is made; losses, optimizer and "
        "metrics are always float32. auto: bfloat16 on a GPU that has it, else float32. On a CPU with "
        "AVX512-BF16 bfloat16 is faster too.",
    )
    deterministic: bool = Field(
        False,
        description="Whether a repeat on the same device with the same versions must give the same "
        "bytes. On a CPU with as many threads it does anyway; a GPU gets slower. Give `batch_size` too: "
        "else the free memory decides what is computed together, and with it the last bits.",
    )
    cluster: Cluster = Field(
        Cluster(), description="How long jobs are, and what they ask a cluster for."
    )
    background: Color = Field("#ffffff", description="Colour behind transparent pictures.")
    output: Output = Field(Output(), description="Files of the finished pictures.")
    evaluation: Evaluation = Field(Evaluation(), description="How finished pictures are measured.")
    report: Report = Field(Report(), description="Layout of contact sheets and report.")
    refine: Refine | None = Field(
        None,
        description="Which cells are made again, larger, when the grid is finished; empty: none.",
    )
    compare: Compare | None = Field(
        None, description="Other runs that this one is compared with at its end; empty: none."
    )
    allow_failures: bool = Field(
        False,
        description="Whether a run in which single cells failed counts as a success. If not, it ends "
        "with an error after everything else is done, and the next call tries those cells again.",
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
