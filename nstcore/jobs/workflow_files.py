"""Which files the rules of the workflow read and write, and what the jobs that make cells ask for.

All paths start from the working directory.  A name in braces is a wildcard of the rule; `wildcards`
are its values in one job.  Nothing here needs torch or opens an image.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from nstcore.config.strict import ID_PATTERN
from nstcore.errors import StoreError
from nstcore.jobs.heartbeat import write_heartbeats
from nstcore.jobs.stylize import stylize_batch
from nstcore.plan import paths
from nstcore.plan.plan import BatchGroup, Cell, Plan
from nstcore.plan.refine import FOLDER, refined
from nstcore.plan.values import INPUT_AXES
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
    **dict.fromkeys(("content", "style", "encoder", "target"), ID_PATTERN),
    "size": r"\d+(short|area)?",
    "index": r"\d+",
    **dict.fromkeys(("page", "stem"), r"[^/]+"),
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


LIGHT_JOB: dict[str, Callable[..., int]] = {
    "mem_mb": lambda wildcards, attempt: requests.light_mb(attempt),
    "runtime": lambda wildcards, attempt: requests.light_minutes(attempt),
}
"""Resources of a rule that only handles files."""

TARGET_JOB = {**LIGHT_JOB, "mem_mb": lambda wildcards, attempt: requests.target_mb(attempt)}
"""Resources of a rule that computes style targets."""


class RunFiles:
    """The files of a run; ``images`` and ``records`` are those of every cell of the grid."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.images = [f"{plan.config.run_dir}/{cell.image}" for cell in plan.cells()]
        self.records = [str(paths.record_path(image)) for image in self.images]

    def paths(self, pattern: str, **values: Iterable[str | int]) -> list[str]:
        """A pattern of `nstcore.plan.paths` with every combination of values; the rest are wildcards."""
        found = []
        for combination in product(*values.values()):
            path = f"{self.plan.config.run_dir}/{pattern}"
            for name, value in zip(values, combination, strict=True):
                path = path.replace(f"{{{name}}}", str(value))
            found.append(path)
        return found

    def content_source(self, wildcards: Wildcards) -> list[str]:
        """The file of a content."""
        return [self.plan.contents[wildcards["content"]].path]

    def style_source(self, wildcards: Wildcards) -> list[str]:
        """The file of one image of a style."""
        return [self.plan.styles[wildcards["style"]].paths[int(wildcards["index"])]]

    def content_guide_source(self, wildcards: Wildcards) -> list[str]:
        """The guide of a content: one image in colors, or a mask for each region."""
        return _guide_files(self.plan.contents[wildcards["content"]].guide)

    def style_guide_source(self, wildcards: Wildcards) -> list[str]:
        """The guide of one image of a style, as above."""
        return _guide_files(self.plan.styles[wildcards["style"]].guide(int(wildcards["index"])))

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

    def contents(self, sizes: Iterable[str], contents: Iterable[str] | None = None) -> Files:
        """Prepared contents; without names, the outputs of the rule that makes one."""
        values = _values(contents, sizes)
        keeps_alpha = self.plan.config.output.preserve_alpha
        return {
            "contents": self.paths(paths.CONTENT, **values),
            "content_info": self.paths(paths.CONTENT_METADATA, **values),
            "alphas": self.paths(paths.CONTENT_ALPHA, **values) if keeps_alpha else [],
        }

    def content_guides(self, sizes: Iterable[str], contents: Iterable[str] | None = None) -> Files:
        """Prepared guides of those contents that have one; without names as above."""
        if contents is not None:
            contents = [name for name in contents if self.plan.contents[name].guide is not None]
        values = _values(contents, sizes)
        return {
            "content_guides": self.paths(paths.CONTENT_GUIDE, **values),
            "content_guide_info": self.paths(paths.CONTENT_GUIDE_METADATA, **values),
        }

    def styles(self, styles: Iterable[str]) -> Files:
        """Every prepared image of styles, with the guides of those that have one."""
        files: Files = {}
        for style in styles:
            source = self.plan.styles[style]
            indices = range(len(source.paths))
            guided = [index for index in indices if source.guide(index) is not None]
            for name, pattern, of in (
                ("styles", paths.STYLE, indices),
                ("style_info", paths.STYLE_METADATA, indices),
                ("style_guides", paths.STYLE_GUIDE, guided),
                ("style_guide_info", paths.STYLE_GUIDE_METADATA, guided),
            ):
                files.setdefault(name, []).extend(self.paths(pattern, style=[style], index=of))
        return files

    def encoders(self, *, refined: bool = False) -> Files:
        """The encoders of the grid, or of the refined cells too."""
        names = [*self.plan.encoders, *(self.plan.refined_encoders if refined else ())]
        return {
            "encoders": self.paths(paths.ENCODER, encoder=names),
            "encoder_info": self.paths(paths.ENCODER_METADATA, encoder=names),
        }

    def cell_inputs(
        self, contents: Iterable[str], styles: Iterable[str], sizes: Iterable[str] | None = None
    ) -> Files:
        """What cells of some contents and styles are made from, but for targets and encoders."""
        contents, sizes = list(contents), list(self.plan.sizes if sizes is None else sizes)
        return {
            **self.contents(sizes, contents),
            **self.content_guides(sizes, contents),
            **self.styles(styles),
        }

    def grid_inputs(self) -> Files:
        """What the keys of all cells are made from."""
        files = {**self.cell_inputs(self.plan.contents, self.plan.styles), **self.encoders()}
        info = {name: files[name] for name in files if name.endswith("_info")}
        return {**info, "starts": self.starts(self.plan.cells())}

    def batches(self) -> str:
        """Changes when a cell moves into another batch."""
        return digest([cell.batch for cell in self.plan.cells()])

    def order(self) -> list[Any]:
        """Contents and styles in their order, with the shares of blends: what tables and sheets show."""
        return [
            list(self.plan.contents),
            [[n, s.paths, s.weights, s.regions] for n, s in self.plan.styles.items()],
        ]

    def target_inputs(self, wildcards: Wildcards, *, refined: bool = False) -> Files:
        """What the targets of a style are computed from."""
        return {**self.styles([wildcards["style"]]), **self.encoders(refined=refined)}

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


def cell_resources(
    plan: Plan, cells: Callable[[Wildcards], Sequence[Cell]]
) -> dict[str, int | Callable[..., int]]:
    """What the jobs of a rule ask for that makes some cells."""

    def asked(estimate: Callable[[Plan, Sequence[Cell], int], int]) -> Callable[..., int]:
        return lambda wildcards, attempt: estimate(plan, cells(wildcards), attempt)

    return {
        "gpu": 0 if plan.config.device == "cpu" else 1,
        "gpu_mem_mb": asked(requests.gpu_mb),
        "mem_mb": asked(requests.host_mb),
        "runtime": asked(requests.runtime_minutes),
    }


class StylizeRule:
    """The rule for a group of batches, which differ in style and content only.

    Attributes:
        group: name of the group, for the job.
        images, records, log: the outputs of one batch.
        constraints: of the wildcards: those values whose batches are in this group.
    """

    def __init__(self, files: RunFiles, group: BatchGroup, name: str) -> None:
        self.files, self.plan = files, files.plan
        self.resources = cell_resources(self.plan, self.cells)
        self.name, self.group, self._batches = name, group.name, group.batches
        run, axes = self.plan.config.run_dir, self.plan.batching.axes.separate
        # A single batch like no other needs no wildcards, which take time.  Where not every style
        # meets every content alike, both are one wildcard.
        self._single = not group.alone and len(group.batches) == 1
        self._paired = not group.alone and not self._single and len(axes) == 2
        own = [f"{{{axis}}}" if axis in axes else None for axis in INPUT_AXES]
        if self._single:
            own = list(group.batches[0])
        cells = [
            f"{run}/cells/{'{pair}' if self._paired else f'{own[0] or style}/{own[1] or content}'}/{stem}"
            for style, content, stem in group.places
        ]
        self.images = [f"{cell}.{self.plan.config.output.format}" for cell in cells]
        self.records = [f"{cell}{paths.RECORD_SUFFIX}" for cell in cells]
        folders = ["{pair}"] if self._paired else [name for name in own if name]
        self.log = "/".join([run, "logs/stylize", *folders, f"{group.name or 'batch'}.log"])
        self.constraints: dict[str, str] = {}
        if self._paired:
            self.constraints["pair"] = _one_of("/".join(map(str, batch)) for batch in group.batches)
        elif not group.alone:
            self.constraints = {
                axis: _one_of(map(str, names))
                for axis, names in zip(INPUT_AXES, zip(*group.batches, strict=True), strict=True)
                if axis in axes
            }

    @classmethod
    def all_of(cls, files: RunFiles) -> list[StylizeRule]:
        """The rules for all groups of a run: a product of axes needs a single one."""
        groups = files.plan.groups
        names = [f"stylize_{n + 1}" for n in range(len(groups))] if len(groups) > 1 else ["stylize"]
        return [cls(files, group, name) for group, name in zip(groups, names, strict=True)]

    def batch(self, wildcards: Wildcards) -> list[str | None]:
        """Style and content of a job's batch, None where they make no batches."""
        if self._single:
            return list(self._batches[0])
        if self._paired:
            return list(wildcards["pair"].split("/"))
        return [wildcards.get("style"), wildcards.get("content")]

    def cells(self, wildcards: Wildcards) -> list[Cell]:
        """The cells of a job."""
        return self.plan.batch(self.group, *self.batch(wildcards))

    def inputs(self, wildcards: Wildcards) -> Files:
        """What the cells of a job are made and evaluated from."""
        cells = self.cells(wildcards)
        styles = dict.fromkeys(cell.style for cell in cells)
        return {
            **self.files.cell_inputs(dict.fromkeys(cell.content for cell in cells), styles),
            "targets": self.files.paths(paths.TARGET, style=styles, target=self.plan.targets),
            **self.files.encoders(),
            "starts": self.files.starts(cells),
        }

    def digest(self, wildcards: Wildcards) -> str:
        """Changes when a cell of the job does; the cells themselves would fill the metadata."""
        return self.plan.digest_of(self.cells(wildcards))

    def starts(self, wildcards: Wildcards) -> list[str]:
        """The images that cells of a job start from."""
        return self.files.starts(self.cells(wildcards))

    def shares(self, wildcards: Wildcards) -> list[list[Any]]:
        """Weights and regions of the job's styles."""
        return self.files.shares(dict.fromkeys(cell.style for cell in self.cells(wildcards)))


class RefineRule:
    """The rule that makes one chosen cell again, larger."""

    def __init__(self, files: RunFiles) -> None:
        self.files, self.plan = files, files.plan
        self.resources = cell_resources(self.plan, self.cells)
        config = self.plan.config
        self.small_image, self.image = (
            f"{config.run_dir}/{folder}/{{style}}/{{content}}/{{stem}}.{config.output.format}"
            for folder in ("cells", FOLDER)
        )
        self.small_record = str(paths.record_path(self.small_image))
        self.record = str(paths.record_path(self.image))

    def cells(self, wildcards: Wildcards) -> list[Cell]:
        """The refined cell, alone."""
        return [refined_cell(self.plan, **wildcards)]

    def inputs(self, wildcards: Wildcards) -> Files:
        """What the cell is made and evaluated from, but for the small image."""
        [cell] = self.cells(wildcards)
        sizes = {paths.size_label(cell.settings), str(self.plan.evaluation["size"])}
        targets = [*paths.targets_of([cell.settings]), self.plan.evaluation_target]
        return {
            **self.files.cell_inputs([cell.content], [cell.style], sorted(sizes)),
            "targets": self.files.paths(paths.TARGET, style=[cell.style], target=targets),
            **self.files.encoders(refined=True),
        }

    def settings(self, wildcards: Wildcards) -> str:
        """All settings of the cell, as JSON."""
        return self.cells(wildcards)[0].settings.model_dump_json()


def refined_cell(plan: Plan, style: str, content: str, stem: str) -> Cell:
    """The refined cell whose image has such a path.

    Raises:
        StoreError: if the grid has no such cell.
    """
    for cell in plan.cells(style=style, content=content):
        if cell.point.stem == stem:
            return refined(plan.config, cell)
    raise StoreError(f"{style}/{content}/{stem} is no cell of this run; start the run again")


def stylize_cells(plan: Plan, choose: Callable[[Plan], Sequence[Cell]], threads: int) -> None:
    """Make the cells of one job, in sight of ``nst status``."""
    cells = choose(plan)
    with write_heartbeats(plan, cells) as writer:
        stylize_batch(plan, cells, threads=threads, progress=writer, waits=writer.waits)


def _guide_files(guide: str | Mapping[str, str] | None) -> list[str]:
    if guide is None:
        return []
    return [guide] if isinstance(guide, str) else list(guide.values())


def _values(contents: Iterable[str] | None, sizes: Iterable[str]) -> dict[str, list[str]]:
    values = {"size": list(sizes)}
    return values if contents is None else {"content": list(contents), **values}


def _one_of(names: Iterable[str]) -> str:
    return "|".join(map(re.escape, names))
