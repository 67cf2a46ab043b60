"""The plan: every cell of a run, its settings, its path and its batch.

A pure function of the configuration and of the lists of input files.  It reads no output, no clock and
no image, so that a job on another machine finds the same plan.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from nstcore.config.run import PARETO, Config
from nstcore.core.settings import Settings
from nstcore.errors import collect_problems, raise_problems
from nstcore.plan import paths
from nstcore.plan.axes import Point, base_setting
from nstcore.plan.batching import BatchPlan
from nstcore.plan.cells import Cell, Selection
from nstcore.plan.cost_model import cell_seconds
from nstcore.plan.inputs import ContentSource, StyleSource, expand_contents, expand_styles
from nstcore.plan.overrides import (
    Image,
    Overrides,
    check_region_weights,
    check_regions,
    named_regions,
)
from nstcore.plan.refine import candidates, cell_row, most_selected, refined
from nstcore.store.files import digest

__all__ = ["Cell", "Plan"]

Value = TypeVar("Value")


def by_batch(cells: Iterable[Cell]) -> dict[str, list[Cell]]:
    """Batch -> those of its cells that are given, in their order."""
    found: dict[str, list[Cell]] = {}
    for cell in cells:
        found.setdefault(cell.batch, []).append(cell)
    return found


class Plan:
    """Every cell of a run.

    Raises:
        ConfigError: if inputs are missing or values of the sweep contradict each other.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.contents: dict[str, ContentSource] = {}
        self.styles: dict[str, StyleSource] = {}
        problems: list[str] = []
        with collect_problems(problems):
            self.contents = expand_contents(config.contents)
        with collect_problems(problems):
            self.styles = expand_styles(config.styles)
        problems += self._overrides.problems(config.sweep)
        settings: list[Settings] = []
        if self.contents and self.styles:
            with collect_problems(problems):
                settings = _resolve(self.selection, self._overrides, problems)
        elif config.sweep.sample is None:
            # Report mistakes of the axes together with those of the inputs.
            axes: dict[str, Any] = {"exclude": [], "include": [], "where": None}
            sweep = config.sweep.model_copy(update=axes)
            any_two = Overrides({"any": ContentSource("")}, {"any": StyleSource((), ())})
            with collect_problems(problems):
                selection = Selection(config.model_copy(update={"sweep": sweep}), any_two)
                settings = _resolve(selection, any_two, problems)
        problems += self._missing_files(settings)
        if not problems:
            problems += self.region_problems(*named_regions(self.contents, self.styles))
        if not problems:
            with collect_problems(problems):
                self.refined_settings  # noqa: B018
        raise_problems(problems)

    @cached_property
    def _overrides(self) -> Overrides:
        return Overrides(self.contents, self.styles)

    @cached_property
    def selection(self) -> Selection:
        """The points of every style with every content."""
        return Selection(self.config, self._overrides)

    def _missing_files(self, settings: Iterable[Settings]) -> list[str]:
        """One line for every file of the settings that does not exist."""
        named = {
            (name, path)
            for one in settings
            for name in ("weights", "init_file")
            if (path := getattr(one, name)) is not None
        }
        if self.config.evaluation.weights is not None:
            named.add(("evaluation.weights", self.config.evaluation.weights))
        return [
            f"{name}: there is no file {path} (paths start from {Path.cwd()})"
            for name, path in sorted(named)
            if not Path(path).is_file()
        ]

    @cached_property
    def settings(self) -> tuple[Settings, ...]:
        """All different settings of the run's cells, in grid order."""
        return tuple(_resolve(self.selection, self._overrides, []))

    @cached_property
    def axis_values(self) -> dict[str, list[Any]]:
        """Every axis and the values that cells have, in order: style, content, the sweep, seed."""
        styles, contents = map(set, zip(*self.selection.pairs, strict=True))
        values: dict[str, list[Any]] = {
            "style": [style for style in self.styles if style in styles],
            "content": [content for content in self.contents if content in contents],
        }
        for name, axis in self.selection.axes.by_name.items():
            used = {
                digest(point.values[name]): point.values[name] for point in self.selection.points
            }
            if axis.interval is not None and axis.interval.count is None:
                values[name] = sorted(used.values())
            else:
                listed = {digest(value): value for value in axis.values}
                values[name] = [v for key, v in {**listed, **used}.items() if key in used]
        seeds = {point.seed for point in self.selection.points}
        values["seed"] = [seed for seed in self.selection.seeds if seed in seeds]
        return values

    @cached_property
    def titles(self) -> dict[str, dict[str, str]]:
        """Axis -> value -> what people see in its place."""
        axes = self.selection.axes.by_name.values()
        return {axis.name: dict(axis.titles) for axis in axes if axis.titles}

    def region_problems(
        self, of_contents: Mapping[str, Sequence[str]], of_images: Mapping[Image, Sequence[str]]
    ) -> list[str]:
        """One line for each mistake in the regions of the run; see :func:`check_regions`."""
        pairs = self.selection.pairs
        return [
            *check_regions(self.contents, self.styles, pairs, of_contents, of_images),
            *check_region_weights(self.contents, self.settings, of_contents),
        ]

    # --- refinement ------------------------------------------------------------------------------

    @cached_property
    def refinable(self) -> list[Cell]:
        """Cells that ``refine`` can choose; a table of them is read once."""
        # Without the section nothing is divided into batches before it is known for how many workers.
        return [] if self.config.refine is None else candidates(self.config, self._all)

    @cached_property
    def most_refined(self) -> list[Cell]:
        """As many refined cells as there can be."""
        return [refined(self.config, cell) for cell in most_selected(self.config, self.refinable)]

    @cached_property
    def refined_settings(self) -> list[Settings]:
        """All different settings that refined cells can have, whatever image they start from."""
        # Refined cells of the same settings differ only in the image that they start from.
        different: dict[int, Cell] = {}
        for cell in self.refinable:
            different.setdefault(id(cell.settings), cell)
        found: dict[str, Settings] = {}
        for cell in different.values():
            settings = refined(self.config, cell).settings
            found.setdefault(settings.model_dump_json(exclude={"init_file"}), settings)
        return list(found.values())

    @property
    def refine_rows(self) -> list[dict[str, Any]] | None:
        """The rows of the table that chooses refined cells; None if no table does."""
        if self.config.refine is None or self.config.refine.choose == PARETO:
            return None
        return [cell_row(cell) for cell in self.refinable]

    # --- batches ---------------------------------------------------------------------------------

    def divide_again(self, config: Config) -> None:
        """Take a configuration of the same cells that differs in what divides them into batches."""
        self.config = config
        for name in ("_all", "batches", "batching"):
            self.__dict__.pop(name, None)

    @cached_property
    def _all(self) -> tuple[Cell, ...]:
        return tuple(
            self.cell(style, content, point, self.batching.batch(style, content, point))
            for (style, content), points in self.selection.pairs.items()
            for point in points
        )

    def cell(self, style: str, content: str, point: Point, batch: str) -> Cell:
        """The cell of a style, a content and a point, which is in a batch."""
        settings = self._overrides.settings(style, content, point)
        image = f"cells/{style}/{content}/{point.stem}.{self.config.output.format}"
        return Cell(style, content, point, settings, batch, image)

    @cached_property
    def batching(self) -> BatchPlan:
        """How batches divide the cells."""
        encoder = self.evaluation["encoder"]
        known: dict[int, float] = {}

        def seconds(style: str, content: str, point: Point) -> float:
            settings = self._overrides.settings(style, content, point)
            if id(settings) not in known:
                known[id(settings)] = cell_seconds(self.config, settings, encoder)
            return known[id(settings)]

        return BatchPlan(self.config, self.selection.pairs, seconds)

    @cached_property
    def batches(self) -> Mapping[str, Sequence[Cell]]:
        """Batch -> its cells; one job makes a batch."""
        return by_batch(self._all)

    def digest_of(self, cells: Iterable[Cell]) -> str:
        """Digest of everything in the configuration that determines some cells."""
        return digest(
            {
                "cells": [[c.image, self._digest(c.settings), c.point.seed] for c in cells],
                "output": self.config.output.model_dump(),
                "evaluation": self.evaluation,
            }
        )

    @cached_property
    def _digests(self) -> dict[int, tuple[Settings, str]]:
        """Id of settings -> the settings, so that no others get the id, and their digest."""
        return {}

    def _digest(self, settings: Settings) -> str:
        if id(settings) not in self._digests:
            self._digests[id(settings)] = settings, digest(settings.model_dump())
        return self._digests[id(settings)][1]

    def cells(self) -> Iterator[Cell]:
        """Cells in grid order: style, content, then the sweep."""
        return iter(self._all)

    @property
    def cell_count(self) -> int:
        """How many images the run makes."""
        return len(self._all)

    @cached_property
    def layout(self) -> dict[str, list[str]]:
        """Axes on rows, columns and pages of the contact sheets: every axis in exactly one place.

        By default a page for each style, contents as rows, all else as columns.
        """
        report = self.config.report
        spec = {"rows": report.rows, "cols": report.cols, "pages": report.pages}
        used = {axis for axes in spec.values() for axis in axes or []}
        axes = [a for a, values in self.axis_values.items() if len(values) > 1 and a not in used]
        layout = {place: list(axes or []) for place, axes in spec.items()}
        for place, axis in (("pages", "style"), ("rows", "content")):
            if spec[place] is None and axis in axes:
                layout[place].append(axis)
                axes.remove(axis)
        rest = next((place for place in ("cols", "rows", "pages") if spec[place] is None), "cols")
        layout[rest] += axes
        # A sheet with a single row or column still has its title.
        for place, axis in (("rows", "content"), ("cols", "style")):
            free = axis not in [a for axes in layout.values() for a in axes]
            if not layout[place] and free:
                layout[place].append(axis)
        return layout

    # --- what has to be prepared -----------------------------------------------------------------

    @cached_property
    def evaluation(self) -> dict[str, Any]:
        """Encoder, weights and size with which every image of the run is measured."""
        base = base_setting(self.config.settings.explicit, "encoder")
        spec = self.config.evaluation
        encoder, weights = spec.encoder or base, spec.weights
        if weights is None:
            files = self.config.settings.weights
            if isinstance(files, dict):
                weights = files.get(encoder)
            elif encoder == base:
                weights = files
        return {"encoder": encoder, "weights": weights, "size": spec.size}

    @cached_property
    def evaluation_settings(self) -> Settings:
        """Settings of the encoder that evaluates: it pools and pads as it was trained."""
        return Settings(**self.evaluation)

    @cached_property
    def sizes(self) -> paths.LabelledSizes:
        """Every size at which contents have to be prepared, ascending."""
        return paths.sizes_of([self.evaluation_settings, *self.settings])

    @cached_property
    def encoders(self) -> paths.Encoders:
        """All encoders that the run optimizes or evaluates with."""
        return paths.encoders_of([*self.settings, self.evaluation_settings])

    @cached_property
    def targets(self) -> paths.Targets:
        """Every target that a style needs for the grid and its evaluation."""
        found = paths.targets_of(self.settings)
        found.setdefault(paths.target_id(*self.evaluation_target), self.evaluation_target)
        return found

    @property
    def targets_first(self) -> bool:
        """Whether jobs of their own compute the style targets, before the batches.

        Batches that are all made at once compute those they need: none waits for another start of torch.
        """
        return len(self.batches) > self.config.workers

    @property
    def evaluation_target(self) -> paths.Target:
        """The target that every finished image of a style is measured against."""
        settings = self.evaluation_settings
        return settings, settings.encoder_spec.evaluation_moments, settings.size

    @cached_property
    def refined_sizes(self) -> paths.LabelledSizes:
        """The sizes of contents that only refined cells need, ascending."""
        return _beyond(self.sizes, paths.sizes_of(self.refined_settings))

    @cached_property
    def refined_encoders(self) -> paths.Encoders:
        """The encoders that only refined cells need."""
        return _beyond(self.encoders, paths.encoders_of(self.refined_settings))

    @cached_property
    def refined_targets(self) -> paths.Targets:
        """The targets that only refined cells need."""
        return _beyond(self.targets, paths.targets_of(self.refined_settings))


def _resolve(selection: Selection, overrides: Overrides, problems: list[str]) -> list[Settings]:
    """All different settings of some cells, in grid order; contradictions are added to ``problems``."""
    found: dict[int, Settings] = {}
    for (style, content), points in selection.pairs.items():
        for point in points:
            with collect_problems(problems):
                settings = overrides.settings(style, content, point)
                found[id(settings)] = settings
    if found and len(selection.seeds) > 1 and not all(one.uses_seed for one in found.values()):
        problems.append(
            "sweep.seeds: with `init: content` every seed gives the same image; set "
            "`init_noise` above 0 (0.1, say), or `init: noise`, or remove the seeds"
        )
    return list(found.values())


def _beyond(known: Mapping[str, Value], found: Mapping[str, Value]) -> dict[str, Value]:
    return {name: value for name, value in found.items() if name not in known}
