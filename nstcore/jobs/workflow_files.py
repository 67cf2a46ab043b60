"""Which files the rules of the workflow read and write, and what the jobs that make cells ask for.

All paths start from the working directory.  A name in braces is a wildcard of the rule; `wildcards`
are its values in one job.  Nothing here needs torch or opens an image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from nstcore.config.strict import ID_PATTERN
from nstcore.errors import StoreError
from nstcore.plan import paths
from nstcore.plan.batching import split_inputs
from nstcore.plan.plan import Cell, Plan
from nstcore.plan.refine import FOLDER, refined
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
    **dict.fromkeys(("page", "stem"), r"[^/]+"),
    "part": r".+",
}
"""What the wildcards of all rules match."""


def state_of(
    source: Callable[[Wildcards], list[str]],
) -> Callable[[Wildcards], list[list[int] | None]]:
    """A parameter of a rule: the states of files that its wildcards name.

    It does not ask for the rule's input: Snakemake makes no job again for parameters that follow from it.
    """

    def state(wildcards: Wildcards) -> list[list[int] | None]:
        return [source_state(file) for file in source(wildcards)]

    return state


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
    """The files of a run; ``batches`` are the manifests of all its batches."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.batches = [self.manifest("batches", batch) for batch in plan.batches]
        self._content_parts, self._style_parts = (
            {name: part for part, names in split_inputs(inputs).items() for name in names}
            for inputs in (plan.contents, plan.styles)
        )

    def paths(self, pattern: str, **values: Iterable[str | int]) -> list[str]:
        """A pattern of `nstcore.plan.paths` with every combination of values; the rest are wildcards."""
        found = []
        for combination in product(*values.values()):
            path = f"{self.plan.config.run_dir}/{pattern}"
            for name, value in zip(values, combination, strict=True):
                path = path.replace(f"{{{name}}}", str(value))
            found.append(path)
        return found

    def manifest(self, stage: str, part: str = "{part}") -> str:
        """The output of the job that makes a part of a stage; without one, of the stage's rule."""
        return f"{self.plan.config.run_dir}/{paths.MANIFEST.format(stage=stage, part=part)}"

    def manifests(self, stage: str, names: Iterable[str]) -> list[str]:
        """The manifests of the parts that some contents or styles belong to."""
        part_of = self._content_parts if stage in CONTENT_STAGES else self._style_parts
        return list(dict.fromkeys(self.manifest(stage, part_of[name]) for name in names))

    def contents_of(self, part: str) -> list[str]:
        """The contents that one job prepares."""
        return [name for name, own in self._content_parts.items() if own == part]

    def styles_of(self, part: str) -> list[str]:
        """The styles that one job prepares, and one other computes the targets of."""
        return [name for name, own in self._style_parts.items() if own == part]

    def content_sources(self, wildcards: Wildcards) -> list[str]:
        """The files of the contents of a part, and of their guides."""
        sources = [self.plan.contents[name] for name in self.contents_of(wildcards["part"])]
        return [file for one in sources for file in (one.path, *_guide_files(one.guide))]

    def style_sources(self, wildcards: Wildcards) -> list[str]:
        """The files of the styles of a part, and of their guides."""
        return [
            file
            for style in map(self.plan.styles.__getitem__, self.styles_of(wildcards["part"]))
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
        return {
            "encoders": self.paths(paths.ENCODER, encoder=names),
            "encoder_info": self.paths(paths.ENCODER_METADATA, encoder=names),
        }

    def cell_inputs(
        self, contents: Iterable[str], styles: Iterable[str], *, refined: bool = False
    ) -> Files:
        """What cells of some contents and styles are made and evaluated from."""
        contents, styles = list(contents), list(styles)
        files = {
            "contents": self.manifests("contents", contents),
            "styles": self.manifests("styles", styles),
            "targets": self.manifests("targets", styles),
        }
        if refined and self.plan.refined_sizes:
            files["refined_contents"] = self.manifests("refined_contents", contents)
        if refined and self.plan.refined_targets:
            files["refined_targets"] = self.manifests("refined_targets", styles)
        return {**files, **self.encoders(refined=refined)}

    def grid_inputs(self) -> Files:
        """What the keys of all cells are made from."""
        files = self.cell_inputs(self.plan.contents, self.plan.styles)
        del files["targets"], files["encoders"]
        return {**files, "starts": self.starts(self.plan.cells())}

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
    """

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


class StylizeRule(CellsRule):
    """The rule that makes a batch; its part of the stage is the batch."""

    def cells(self, wildcards: Wildcards) -> Sequence[Cell]:
        """The cells of the batch."""
        return self.plan.batches[wildcards["part"]]

    def inputs(self, wildcards: Wildcards) -> Files:
        """What the cells of a job are made and evaluated from."""
        cells = self.cells(wildcards)
        contents, styles = (
            {getattr(cell, axis) for cell in cells} for axis in ("content", "style")
        )
        files = self.files.cell_inputs(sorted(contents), sorted(styles))
        return {**files, "starts": self.files.starts(cells)}

    def digest(self, wildcards: Wildcards) -> str:
        """Changes when a cell of the job does; the cells themselves would fill the metadata."""
        return self.plan.digest_of(self.cells(wildcards))

    def starts(self, wildcards: Wildcards) -> list[str]:
        """The images that cells of a job start from."""
        return self.files.starts(self.cells(wildcards))

    def shares(self, wildcards: Wildcards) -> list[list[Any]]:
        """Weights and regions of the job's styles."""
        return self.files.shares(dict.fromkeys(cell.style for cell in self.cells(wildcards)))


class RefineRule(CellsRule):
    """The rule that makes one chosen cell again, larger."""

    def __init__(self, files: RunFiles) -> None:
        super().__init__(files)
        config = self.plan.config
        self.image = (
            f"{config.run_dir}/{FOLDER}/{{style}}/{{content}}/{{stem}}.{config.output.format}"
        )
        self.record = str(paths.record_path(self.image))

    def batch(self, wildcards: Wildcards) -> str:
        """The manifest of the batch that makes the small image."""
        return self.files.manifest("batches", _cell(self.plan, **wildcards).batch)

    def cells(self, wildcards: Wildcards) -> Sequence[Cell]:
        """The refined cell, alone."""
        return [refined_cell(self.plan, **wildcards)]

    def inputs(self, wildcards: Wildcards) -> Files:
        """What the cell is made and evaluated from, but for the small image."""
        [cell] = self.cells(wildcards)
        return self.files.cell_inputs([cell.content], [cell.style], refined=True)

    def settings(self, wildcards: Wildcards) -> str:
        """All settings of the cell, as JSON."""
        return self.cells(wildcards)[0].settings.model_dump_json()


def refined_cell(plan: Plan, style: str, content: str, stem: str) -> Cell:
    """The refined cell whose image has such a path.

    Raises:
        StoreError: if the grid has no such cell.
    """
    return refined(plan.config, _cell(plan, style, content, stem))


def _cell(plan: Plan, style: str, content: str, stem: str) -> Cell:
    for cell in plan.cells(style=style, content=content):
        if cell.point.stem == stem:
            return cell
    raise StoreError(f"{style}/{content}/{stem} is no cell of this run; start the run again")


def _guide_files(guide: str | Mapping[str, str] | None) -> list[str]:
    if guide is None:
        return []
    return [guide] if isinstance(guide, str) else list(guide.values())
