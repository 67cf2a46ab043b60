"""Which files the rules of the workflow read and write, and what the jobs that make cells ask for.

All paths start from the working directory.  A name in braces is a wildcard of the rule; `wildcards`
are its values in one job.  Nothing here needs torch or opens an image.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from nstcore.config.strict import ID_PATTERN
from nstcore.errors import StoreError
from nstcore.plan import paths
from nstcore.plan.batching import LOCAL_MINUTES, bucket, power_of_two, split_inputs
from nstcore.plan.cost_model import cell_seconds, job_seconds
from nstcore.plan.plan import Cell, Plan
from nstcore.plan.refine import FOLDER, most_selected, refined
from nstcore.resources import requests
from nstcore.store.files import digest

Wildcards = Mapping[str, str]
Files = dict[str, list[str]]
"""Name of a rule's inputs or outputs -> their paths."""


def source_state(path: str) -> list[int] | None:
    """Size and date of a file: Snakemake does not notice when an older file replaces it."""
    if not Path(path).is_file():
        return None
    info = Path(path).stat()
    return [info.st_size, info.st_mtime_ns]


WILDCARDS = {
    **dict.fromkeys(("content", "style", "encoder"), ID_PATTERN),
    "page": r"[^/]+",
    "part": r".+",
}
"""What the wildcards of all rules match."""


def state_of(
    source: Callable[[Wildcards], list[str]],
) -> Callable[[Wildcards], list[list[int] | None]]:
    """A parameter of a rule: the states of files that its wildcards name.

    It does not ask for the rule's input: Snakemake makes no job again for parameters that follow from it.
    """
    return lambda wildcards: [source_state(file) for file in source(wildcards)]


SELECTION = f"{FOLDER}/promoted.tsv"
"""The table of the cells that a finished grid has selected, in the run's folder."""

CONTENT_STAGES = ("contents", "refined_contents")
"""Stages whose parts are contents; the parts of all others are styles."""

LIGHT_JOB: dict[str, Callable[..., int]] = {
    "mem_mb": lambda wildcards, attempt: requests.light_mb(attempt),
    "runtime": lambda wildcards, attempt: requests.light_minutes(attempt),
}
"""Resources of a rule that only handles files."""

TARGET_JOB = {**LIGHT_JOB, "mem_mb": lambda wildcards, attempt: requests.target_mb(attempt)}
"""Resources of a rule that computes style targets."""


class RunFiles:
    """The files of a run.

    Attributes:
        batches: the manifests of all its batches.
        contents, styles: part -> the contents or styles that one job prepares.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.batches = [self.manifest("batches", batch) for batch in plan.batches]
        self.contents, self.styles = split_inputs(plan.contents), split_inputs(plan.styles)
        self._content_parts, self._style_parts = (
            {name: part for part, names in parts.items() for name in names}
            for parts in (self.contents, self.styles)
        )

    def manifest(self, stage: str, part: str = "{part}") -> str:
        """The output of the job that makes a part of a stage; without one, of the stage's rule."""
        return f"{self.plan.config.run_dir}/{paths.MANIFEST.format(stage=stage, part=part)}"

    def manifests(self, stage: str, names: Iterable[str]) -> list[str]:
        """The manifests of the parts that some contents or styles belong to."""
        part_of = self._content_parts if stage in CONTENT_STAGES else self._style_parts
        return list(dict.fromkeys(self.manifest(stage, part_of[name]) for name in names))

    def content_sources(self, wildcards: Wildcards) -> list[str]:
        """The files of the contents of a part, and of their guides."""
        sources = [self.plan.contents[name] for name in self.contents[wildcards["part"]]]
        return [file for one in sources for file in (one.path, *_guide_files(one.guide))]

    def style_sources(self, wildcards: Wildcards) -> list[str]:
        """The files of the styles of a part, and of their guides."""
        return [
            file
            for style in map(self.plan.styles.__getitem__, self.styles[wildcards["part"]])
            for index, path in enumerate(style.paths)
            for file in (path, *_guide_files(style.guide(index)))
        ]

    def weights_source(self, wildcards: Wildcards) -> list[str]:
        """The weights file of an encoder; empty for weights that the encoder brings along."""
        _, weights = {**self.plan.encoders, **self.plan.refined_encoders}[wildcards["encoder"]]
        return [] if weights is None else [weights]

    def starts(self, cells: Iterable[Cell]) -> list[str]:
        """The images that cells with `init: file` start from."""
        return sorted({path for cell in cells if (path := cell.settings.init_file) is not None})

    def shares(self, styles: Iterable[str]) -> list[list[Any]]:
        """Weights and regions of the images of styles."""
        sources = [self.plan.styles[style] for style in styles]
        return [[list(source.weights), list(source.regions)] for source in sources]

    def encoders(self, *, refined: bool = False) -> Files:
        """The encoders of the grid, or of the refined cells too."""
        names = [*self.plan.encoders, *(self.plan.refined_encoders if refined else ())]
        patterns = {"encoders": paths.ENCODER, "encoder_info": paths.ENCODER_METADATA}
        return {
            key: [f"{self.plan.config.run_dir}/{pattern.format(encoder=name)}" for name in names]
            for key, pattern in patterns.items()
        }

    def cell_inputs(
        self, contents: Iterable[str], styles: Iterable[str], *, refined: bool = False
    ) -> Files:
        """What cells of some contents and styles are made and evaluated from."""
        contents, styles = list(contents), list(styles)
        files = {
            "contents": self.manifests("contents", contents),
            "styles": self.manifests("styles", styles),
        }
        if self.plan.targets_first:
            files["targets"] = self.manifests("targets", styles)
        if refined and self.plan.refined_sizes:
            files["refined_contents"] = self.manifests("refined_contents", contents)
        if refined and self.plan.refined_targets and self.plan.targets_first:
            files["refined_targets"] = self.manifests("refined_targets", styles)
        return {**files, **self.encoders(refined=refined)}

    def grid_inputs(self) -> Files:
        """What the keys of all cells are made from."""
        files = self.cell_inputs(self.plan.contents, self.plan.styles)
        return {
            **{name: files[name] for name in ("contents", "styles", "encoder_info")},
            "starts": self.starts(self.plan.cells()),
        }

    def batch_digest(self) -> str:
        """Changes when a cell moves into another batch."""
        return digest([cell.batch for cell in self.plan.cells()])

    def order(self) -> list[Any]:
        """Contents and styles in their order, with the shares of blends: what tables and sheets show."""
        return [
            list(self.plan.contents),
            [[n, s.paths, s.weights, s.regions] for n, s in self.plan.styles.items()],
        ]

    def target_inputs(self, wildcards: Wildcards, *, refined: bool = False) -> Files:
        """What the targets of a part of the styles are computed from."""
        return {
            "styles": [self.manifest("styles", wildcards["part"])],
            **self.encoders(refined=refined),
        }

    def refined_results(self) -> list[str]:
        """What is made of all refined cells together; empty without any."""
        if self.plan.config.refine is None:
            return []
        names = [f"{FOLDER}.csv", *(f"sheets/{FOLDER}.{suffix}" for suffix in ("png", "pdf"))]
        return [f"{self.plan.config.run_dir}/{name}" for name in names]

    def comparison(self) -> list[str]:
        """The comparison with other runs; empty without any."""
        if self.plan.config.compare is None:
            return []
        names = (paths.COMPARE_PAGE, paths.COMPARE_TABLE, paths.COMPARE_SUMMARY)
        return [f"{self.plan.config.run_dir}/{paths.COMPARE_FOLDER}/{name}" for name in names]


class CellsRule:
    """What the rules have in common that make cells.

    Attributes:
        resources: what a job asks for.
        stage: whose parts are the batches.
    """

    stage = "batches"

    def __init__(self, files: RunFiles) -> None:
        self.files, self.plan = files, files.plan
        self.resources: dict[str, int | Callable[..., int]] = {
            "gpu": 0 if self.plan.config.device == "cpu" else 1,
            "gpu_mem_mb": self._asked(requests.gpu_mb),
            "mem_mb": self._asked(requests.host_mb),
            "runtime": self._asked(requests.runtime_minutes),
        }

    def cells(self, wildcards: Wildcards) -> Sequence[Cell]:
        """The cells of a job."""
        raise NotImplementedError

    def _asked(self, estimate: Callable[[Plan, Sequence[Cell], int], int]) -> Callable[..., int]:
        return lambda wildcards, attempt: estimate(self.plan, self.cells(wildcards), attempt)

    def inputs(self, wildcards: Wildcards) -> Files:
        """What the cells of a job are made and evaluated from."""
        cells = self.cells(wildcards)
        contents = sorted({cell.content for cell in cells})
        styles = sorted({cell.style for cell in cells})
        return self.files.cell_inputs(contents, styles, refined=self.stage == FOLDER)

    def digest(self, wildcards: Wildcards) -> str:
        """Changes when a cell of the job does; the cells themselves would fill the metadata."""
        return self.plan.digest_of(self.cells(wildcards))

    def starts(self, wildcards: Wildcards) -> list[str]:
        """The images that cells of a job start from."""
        return self.files.starts(self.cells(wildcards))

    def shares(self, wildcards: Wildcards) -> list[list[Any]]:
        """Weights and regions of the job's styles."""
        return self.files.shares(dict.fromkeys(cell.style for cell in self.cells(wildcards)))


class StylizeRule(CellsRule):
    """The rule that makes a batch; its part of the stage is the batch."""

    def cells(self, wildcards: Wildcards) -> Sequence[Cell]:
        """The cells of the batch."""
        return self.plan.batches[wildcards["part"]]

    def inputs(self, wildcards: Wildcards) -> Files:
        """What the cells of a job are made and evaluated from."""
        return {**super().inputs(wildcards), "starts": self.starts(wildcards)}


class RefineRule(CellsRule):
    """The rule that makes the selected cells of a batch again, larger, in one or more parts."""

    stage = FOLDER

    def __init__(self, files: RunFiles) -> None:
        super().__init__(files)
        self._selected: tuple[object, set[str]] = (None, set())

    @cached_property
    def _counts(self) -> dict[str, int]:
        """Batch -> into how many parts it is divided, so that none takes much longer than a batch."""
        config, encoder = self.plan.config, self.plan.evaluation["encoder"]
        known: dict[int, float] = {}
        taken: dict[str, list[float]] = {}
        for cell in most_selected(config, self.plan.refinable):
            # Refined cells of the same settings differ only in the image that they start from.
            if id(cell.settings) not in known:
                settings = refined(config, cell).settings
                known[id(cell.settings)] = cell_seconds(config, settings, encoder)
            taken.setdefault(cell.batch, []).append(known[id(cell.settings)])
        longest = 60 * (config.cluster.target_minutes or LOCAL_MINUTES)
        return {batch: power_of_two(job_seconds(cells) / longest) for batch, cells in taken.items()}

    @property
    def parts(self) -> list[str]:
        """The parts that have a selected cell; each is named after its batch."""
        cells = _selected_cells(self.plan)
        return list(dict.fromkeys(_part(cell, self._counts[cell.batch]) for cell in cells))

    def manifests(self) -> list[str]:
        """The manifests of all parts."""
        return [self.files.manifest(FOLDER, part) for part in self.parts]

    def cells(self, wildcards: Wildcards) -> Sequence[Cell]:
        """The refined cells of a part; no other batch is read."""
        table = source_state(f"{self.plan.config.run_dir}/{SELECTION}")
        if table is None or self._selected[0] != table:
            self._selected = table, set(_selected_images(self.plan))
        part = wildcards["part"]
        batch = self._batch(part)
        count = 1 if part == batch else int(part.rpartition("of")[2])
        return [
            replace(refined(self.plan.config, cell), batch=f"{FOLDER}/{part}")
            for cell in self.plan.batches[batch]
            if cell.image in self._selected[1] and _part(cell, count) == part
        ]

    def inputs(self, wildcards: Wildcards) -> Files:
        """What the cells are made and evaluated from; the small images by the manifest of their batch."""
        batch = [self.files.manifest("batches", self._batch(wildcards["part"]))]
        return {**super().inputs(wildcards), "batch": batch}

    def _batch(self, part: str) -> str:
        return part if part in self.plan.batches else part.rpartition("/")[0]


def _part(cell: Cell, count: int) -> str:
    """The part of its batch, of so many, that a cell is refined in."""
    if count == 1:
        return cell.batch
    return f"{cell.batch}/{bucket(cell.image.replace('cells', FOLDER, 1), count)}"


def cells_rule(plan: Plan, stage: str) -> CellsRule:
    """The rule that makes the batches of a stage."""
    return (RefineRule if stage == FOLDER else StylizeRule)(RunFiles(plan))


class PackedRule(CellsRule):
    """The rule that makes batches where the run's files are not: see `nstcore.jobs.packed`.

    Args:
        rules: those that make the same batches where the files are.
    """

    def __init__(self, *rules: CellsRule) -> None:
        super().__init__(rules[0].files)
        self._rules = {rule.stage: rule for rule in rules}

    def cells(self, wildcards: Wildcards) -> Sequence[Cell]:
        """The cells of a batch of one of the stages."""
        return self._rules[wildcards["stage"]].cells(wildcards)

    def inputs(self, wildcards: Wildcards) -> Files:
        """What has to be there before a batch is packed; its job computes the targets itself."""
        files = self._rules[wildcards["stage"]].inputs(wildcards)
        return {name: own for name, own in files.items() if "targets" not in name}

    def state(self, wildcards: Wildcards) -> list[Any]:
        """Changes when what a batch is made of does, and when cells of it failed."""
        files = [*self.starts(wildcards), str(packed_tries(self.plan, **wildcards))]
        return [self.digest(wildcards), self.shares(wildcards), list(map(source_state, files))]


def packed_tries(plan: Plan, stage: str, part: str) -> Path:
    """A file that changes when cells of a packed batch failed, so that the next run makes it again."""
    return Path(plan.config.run_dir, ".state", "failed", stage, part)


def selected_cells(plan: Plan) -> list[tuple[Cell, Cell]]:
    """The selected cells of a run: each as it is in the grid and as it is refined.

    Raises:
        StoreError: the table of selected cells cannot be read, or is of another plan.
    """
    return [(cell, refined(plan.config, cell)) for cell in _selected_cells(plan)]


def _selected_images(plan: Plan) -> list[str]:
    """The selected images, as they are in the grid."""
    table = Path(plan.config.run_dir) / SELECTION
    try:
        with open(table, encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
            return [row["image"].replace(FOLDER, "cells", 1) for row in rows]
    except (OSError, KeyError, UnicodeDecodeError) as error:
        raise StoreError(f"{table}: cannot be read ({error}); delete it and run again") from None


def _selected_cells(plan: Plan) -> list[Cell]:
    known = {cell.image: cell for cell in plan.refinable}
    images = _selected_images(plan)
    if unknown := [image for image in images if image not in known]:
        table, name = Path(plan.config.run_dir) / SELECTION, unknown[0].replace("cells", FOLDER, 1)
        raise StoreError(f"{table}: {name} is no cell of this run; delete it and run again")
    return [known[image] for image in images]


def _guide_files(guide: str | Mapping[str, str] | None) -> list[str]:
    return [guide] if isinstance(guide, str) else list((guide or {}).values())
