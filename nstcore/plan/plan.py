"""The plan: every cell of a run, its settings, its path and its batch.

A pure function of the configuration and of the lists of input files.  It reads no output, no clock and
no image, so that a job on another machine finds the same plan.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from nstcore.config.run import PARETO, Config
from nstcore.core.settings import Settings
from nstcore.errors import ConfigError
from nstcore.plan.axes import Point, base_setting
from nstcore.plan.batching import BatchKey, BatchPlan
from nstcore.plan.cells import Cell, Selection, select_cells
from nstcore.plan.cost_model import cell_seconds
from nstcore.plan.inputs import (
    ContentSource,
    Image,
    StyleSource,
    check_region_weights,
    check_regions,
    expand_contents,
    expand_styles,
    named_regions,
)
from nstcore.plan.overrides import Overrides
from nstcore.plan.paths import LabelledSizes, sizes_of
from nstcore.plan.refine import candidates, cell_row, most_refined, refined
from nstcore.store.files import digest

__all__ = ["BatchGroup", "Cell", "Plan"]


@dataclass(frozen=True)
class BatchGroup:
    """Batches that one rule makes: their jobs differ in style and content only.

    Attributes:
        name: empty, or the part of the batches' names that is neither style nor content.
        batches: style and content of each batch.
        places: style, content and stem of every image of a batch; None for a style or content that
            differs between the batches.
        alone: whether all batches of this name are in this group.
    """

    name: str
    batches: tuple[BatchKey, ...]
    places: tuple[tuple[str | None, str | None, str], ...]
    alone: bool


class Plan:
    """Every cell of a run.

    Args:
        config: the checked configuration.

    Raises:
        ConfigError: if inputs are missing or values of the sweep contradict each other.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        problems: list[str] = []
        self.contents: dict[str, ContentSource] = {}
        self.styles: dict[str, StyleSource] = {}
        try:
            self.contents = expand_contents(config.contents)
        except ConfigError as error:
            problems += error.problems
        try:
            self.styles = expand_styles(config.styles)
        except ConfigError as error:
            problems += error.problems
        overrides = Overrides(self.contents, self.styles)
        problems += overrides.problems(config.sweep)
        self._resolved: dict[tuple[str, str, str], Settings] = {}
        if self.contents and self.styles:
            problems += self._select(config, overrides)
        elif config.sweep.sample is None:
            # Report mistakes of the axes together with those of the inputs.
            axes: dict[str, Any] = {"exclude": [], "include": [], "where": None}
            sweep = config.sweep.model_copy(update=axes)
            any_two = Overrides({"any": ContentSource("")}, {"any": StyleSource((), ())})
            problems += self._select(config.model_copy(update={"sweep": sweep}), any_two)
        problems += self._missing_files()
        if not problems:
            problems += self.region_problems(*named_regions(self.contents, self.styles))
        if not problems:
            try:
                self.refined_settings  # noqa: B018
            except ConfigError as error:
                problems += error.problems
        if problems:
            raise ConfigError(list(dict.fromkeys(problems)))

    def _select(self, config: Config, overrides: Overrides) -> Iterator[str]:
        """Find all cells and their settings; yields their problems."""
        try:
            self.selection: Selection = select_cells(config, overrides)
        except ConfigError as error:
            yield from error.problems
            return
        for (style, content), points in self.selection.pairs.items():
            for point in points:
                try:
                    settings = overrides.settings(style, content, point)
                except ConfigError as error:
                    yield from error.problems
                    continue
                if len(self.selection.seeds) > 1 and not settings.uses_seed:
                    yield (
                        "sweep.seeds: with `init: content` every seed gives the same image; set "
                        "`init_noise` above 0 (0.1, say), or `init: noise`, or remove the seeds"
                    )
                self._resolved[style, content, point.stem] = settings

    def _missing_files(self) -> list[str]:
        """One line for every file of the settings that does not exist."""
        named = {
            (name, path)
            for settings in self.settings
            for name in ("weights", "init_file")
            if (path := getattr(settings, name)) is not None
        }
        if self.config.evaluation.weights is not None:
            named.add(("evaluation.weights", self.config.evaluation.weights))
        return [
            f"{name}: there is no file {path} (paths start from {Path.cwd()})"
            for name, path in sorted(named)
            if not Path(path).is_file()
        ]

    @property
    def points(self) -> tuple[Point, ...]:
        """Every point that some cell has, in grid order."""
        return self.selection.points

    @cached_property
    def settings(self) -> tuple[Settings, ...]:
        """All different settings of the run's cells, in grid order."""
        return tuple({id(settings): settings for settings in self._resolved.values()}.values())

    @cached_property
    def axis_values(self) -> dict[str, list[Any]]:
        """Every axis and the values that cells have, in order: style, content, the sweep, seed."""
        pairs = self.selection.pairs
        values: dict[str, list[Any]] = {
            "style": [s for s in self.styles if any(s == style for style, _ in pairs)],
            "content": [c for c in self.contents if any(c == content for _, content in pairs)],
        }
        for name, axis in self.selection.axes.by_name.items():
            used = {digest(point.values[name]): point.values[name] for point in self.points}
            if axis.interval is not None and axis.interval.count is None:
                values[name] = sorted(used.values())
            else:
                listed = {digest(value): value for value in axis.values}
                values[name] = [v for key, v in {**listed, **used}.items() if key in used]
        seeds = {point.seed for point in self.points}
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
        """One line for each mistake in the regions of the run, as far as their names are known.

        Args:
            of_contents: content -> its regions.
            of_images: style and index of its image -> the image's regions.
        """
        problems: list[str] = []
        guided = any(source.guide is not None for source in self.contents.values())
        if guided or any(source.regions for source in self.styles.values()):
            pairs = self.selection.pairs
            problems += check_regions(self.contents, self.styles, pairs, of_contents, of_images)
        return problems + check_region_weights(self.contents, self.settings, of_contents)

    # --- refinement ------------------------------------------------------------------------------

    @cached_property
    def refinable(self) -> list[Cell]:
        """Cells that ``refine`` can choose; a table of them is read once."""
        return candidates(self.config, self._all)

    @cached_property
    def most_refined(self) -> list[Cell]:
        """As many refined cells as there can be."""
        return most_refined(self.config, self.refinable)

    @cached_property
    def refined_settings(self) -> list[Settings]:
        """All different settings that refined cells can have, whatever image they start from."""
        found: dict[str, Settings] = {}
        for cell in self.refinable:
            settings = refined(self.config, cell).settings
            found.setdefault(settings.model_dump_json(exclude={"init_file"}), settings)
        return list(found.values())

    @cached_property
    def refined_sizes(self) -> LabelledSizes:
        """Sizes at which contents have to be prepared for refined cells alone, ascending."""
        found = sizes_of(self.refined_settings)
        return {label: size for label, size in found.items() if label not in self.sizes}

    @property
    def refine_rows(self) -> list[dict[str, Any]] | None:
        """The rows of the table that chooses refined cells; None if no table does."""
        if self.config.refine is None or self.config.refine.choose == PARETO:
            return None
        return [cell_row(cell) for cell in self.refinable]

    # --- batches ---------------------------------------------------------------------------------

    @cached_property
    def _all(self) -> tuple[Cell, ...]:
        return tuple(
            Cell(
                style,
                content,
                point,
                self._resolved[style, content, point.stem],
                group,
                self.batching.batch(style, content, group),
                self.image_path(style, content, point),
            )
            for (style, content), points in self.selection.pairs.items()
            for point in points
            for group in [self.batching.group(style, content, point)]
        )

    @cached_property
    def batching(self) -> BatchPlan:
        """How batches divide the cells."""
        encoder = self.evaluation["encoder"]
        known: dict[int, float] = {}

        def seconds(style: str, content: str, point: Point) -> float:
            settings = self._resolved[style, content, point.stem]
            if id(settings) not in known:
                known[id(settings)] = cell_seconds(self.config, settings, encoder)
            return known[id(settings)]

        return BatchPlan(self.config, self.selection.pairs, seconds)

    @cached_property
    def _batches(self) -> dict[str, dict[BatchKey, list[Cell]]]:
        found: dict[str, dict[BatchKey, list[Cell]]] = {}
        for cell in self._all:
            batches = found.setdefault(cell.group, {})
            batches.setdefault(self.batching.key(cell.style, cell.content), []).append(cell)
        return found

    @cached_property
    def groups(self) -> tuple[BatchGroup, ...]:
        """All batches; a group has those whose files differ in style and content only.

        A grid that is a product has one group for each name.
        """
        separate = self.batching.axes.separate
        groups: list[BatchGroup] = []
        for name, batches in self._batches.items():
            alike: dict[tuple[tuple[str | None, str | None, str], ...], list[BatchKey]] = {}
            for key, cells in batches.items():
                places = tuple(
                    (
                        None if "style" in separate else cell.style,
                        None if "content" in separate else cell.content,
                        cell.point.stem,
                    )
                    for cell in cells
                )
                alike.setdefault(places, []).append(key)
            groups += [
                BatchGroup(name, tuple(keys), places, len(alike) == 1)
                for places, keys in alike.items()
            ]
        return tuple(groups)

    def batch(self, group: str, style: str | None = None, content: str | None = None) -> list[Cell]:
        """The cells of one job.

        Args:
            group: name of the group.
            style, content: those of the job, for axes along which batches are separate.
        """
        return list(self._batches[group][style, content])

    def digest_of(self, cells: Iterable[Cell]) -> str:
        """Digest of everything in the configuration that determines some cells."""
        return digest(
            {
                "cells": [[c.image, self._digests[id(c.settings)], c.point.seed] for c in cells],
                "output": self.config.output.model_dump(),
                "evaluation": self.evaluation,
            }
        )

    @cached_property
    def _digests(self) -> dict[int, str]:
        return {id(settings): digest(settings.model_dump()) for settings in self.settings}

    @cached_property
    def evaluation(self) -> dict[str, Any]:
        """Encoder, weights and size with which every image of the run is measured."""
        base = base_setting(self.config.settings.explicit, "encoder")
        spec = self.config.evaluation
        encoder = spec.encoder or base
        weights = spec.weights
        if weights is None:
            files = self.config.settings.weights
            if isinstance(files, dict):
                weights = files.get(encoder)
            elif encoder == base:
                weights = files
        return {"encoder": encoder, "weights": weights, "size": spec.size}

    def image_path(self, style: str, content: str, point: Point) -> str:
        """Path of a cell's image, from the run's folder."""
        return f"cells/{style}/{content}/{point.stem}.{self.config.output.format}"

    def cells(self, *, style: str | None = None, content: str | None = None) -> Iterator[Cell]:
        """Cells in grid order: style, content, then the sweep; perhaps only some of them."""
        for cell in self._all:
            if style in (None, cell.style) and content in (None, cell.content):
                yield cell

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

    @property
    def cell_count(self) -> int:
        """How many images the run makes."""
        return len(self._all)

    @cached_property
    def sizes(self) -> LabelledSizes:
        """Every size at which contents have to be prepared, ascending."""
        return sizes_of([Settings(size=self.evaluation["size"]), *self.settings])
