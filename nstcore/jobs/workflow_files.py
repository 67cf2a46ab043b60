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
from nstcore.jobs.heartbeat import write_heartbeats
from nstcore.jobs.manifests import manifest_path, write_manifest
from nstcore.jobs.stylize import stylize_batch
from nstcore.plan import paths
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
    **dict.fromkeys(("content", "style", "encoder", "target"), ID_PATTERN),
    "size": r"\d+(short|area)?",
    "index": r"\d+",
    **dict.fromkeys(("page", "stem"), r"[^/]+"),
    "batch": r".+",
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
    """The files of a run; ``manifests`` are those of every batch of the grid."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.manifests = [str(manifest_path(plan, batch)) for batch in plan.batches]

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
    """The rule that makes a batch; its wildcard is the batch's name."""

    def cells(self, wildcards: Wildcards) -> Sequence[Cell]:
        """The cells of the batch."""
        return self.plan.batches[wildcards["batch"]]

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
        return str(manifest_path(self.plan, _cell(self.plan, **wildcards).batch))

    def cells(self, wildcards: Wildcards) -> Sequence[Cell]:
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
    return refined(plan.config, _cell(plan, style, content, stem))


def _cell(plan: Plan, style: str, content: str, stem: str) -> Cell:
    for cell in plan.cells(style=style, content=content):
        if cell.point.stem == stem:
            return cell
    raise StoreError(f"{style}/{content}/{stem} is no cell of this run; start the run again")


def stylize_cells(plan: Plan, cells: Sequence[Cell], threads: int) -> None:
    """Make the cells of one job, in sight of ``nst status``."""
    with write_heartbeats(plan, cells) as writer:
        stylize_batch(plan, cells, threads=threads, progress=writer, waits=writer.waits)


def make_batch(plan: Plan, batch: str, threads: int) -> None:
    """Make the cells of a batch and its manifest."""
    stylize_cells(plan, plan.batches[batch], threads)
    write_manifest(plan, plan.batches[batch])


def make_refined(plan: Plan, style: str, content: str, stem: str, threads: int) -> None:
    """Make one refined cell."""
    stylize_cells(plan, [refined_cell(plan, style, content, stem)], threads)


def _guide_files(guide: str | Mapping[str, str] | None) -> list[str]:
    if guide is None:
        return []
    return [guide] if isinstance(guide, str) else list(guide.values())


def _values(contents: Iterable[str] | None, sizes: Iterable[str]) -> dict[str, list[str]]:
    values = {"size": list(sizes)}
    return values if contents is None else {"content": list(contents), **values}
