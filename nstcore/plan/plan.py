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
from nstcore.errors import ConfigError, collect_problems
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
from nstcore.plan.refine import candidates, cell_row, most_refined, refined
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
        self._resolved: dict[tuple[str, str, str], Settings] = {}
        problems: list[str] = []
        with collect_problems(problems):
            self.contents = expand_contents(config.contents)
        with collect_problems(problems):
            self.styles = expand_styles(config.styles)
        overrides = Overrides(self.contents, self.styles)
        problems += overrides.problems(config.sweep)
        if self.contents and self.styles:
            self._select(config, overrides, problems)
        elif config.sweep.sample is None:
            # Report mistakes of the axes together with those of the inputs.
            axes: dict[str, Any] = {"exclude": [], "include": [], "where": None}
            sweep = config.sweep.model_copy(update=axes)
            any_two = Overrides({"any": ContentSource("")}, {"any": StyleSource((), ())})
            self._select(config.model_copy(update={"sweep": sweep}), any_two, problems)
        problems += self._missing_files()
        if not problems:
            problems += self.region_problems(*named_regions(self.contents, self.styles))
        if not problems:
            with collect_problems(problems):
                self.refined_settings  # noqa: B018
        if problems:
            raise ConfigError(list(dict.fromkeys(problems)))

    def _select(self, config: Config, overrides: Overrides, problems: list[str]) -> None:
        """Find all cells and their settings."""
        with collect_problems(problems):
            self.selection = Selection(config, overrides)
            for (style, content), points in self.selection.pairs.items():
                for point in points:
                    with collect_problems(problems):
                        settings = overrides.settings(style, content, point)
                        self._resolved[style, content, point.stem] = settings
        seeds = len(self.selection.seeds) if self._resolved else 0
        if seeds > 1 and not all(settings.uses_seed for settings in self.settings):
            problems.append(
                "sweep.seeds: with `init: content` every seed gives the same image; set "
                "`init_noise` above 0 (0.1, say), or `init: noise`, or remove the seeds"
            )

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
                self.batching.batch(style, content, point),
                f"cells/{style}/{content}/{point.stem}.{self.config.output.format}",
            )
            for (style, content), points in self.selection.pairs.items()
            for point in points
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
    def batches(self) -> dict[str, list[Cell]]:
        """Batch -> its cells; one job makes a batch."""
        return by_batch(self._all)

    def digest_of(self, cells: Iterable[Cell]) -> str:
        """Digest of everything in the configuration that determines some cells."""

        def of(settings: Settings) -> str:
            return self._digests.get(id(settings)) or digest(settings.model_dump())

        return digest(
            {
                "cells": [[c.image, of(c.settings), c.point.seed] for c in cells],
                "output": self.config.output.model_dump(),
                "evaluation": self.evaluation,
            }
        )

    @cached_property
    def _digests(self) -> dict[int, str]:
        return {id(settings): digest(settings.model_dump()) for settings in self.settings}

    def cells(self, *, style: str | None = None, content: str | None = None) -> Iterator[Cell]:
        """Cells in grid order: style, content, then the sweep; perhaps only some of them."""
        for cell in self._all:
            if style in (None, cell.style) and content in (None, cell.content):
                yield cell

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
        found.setdefault(self.evaluation_target, self._evaluation_target)
        return found

    @cached_property
    def evaluation_target(self) -> str:
        """Id of the target that every finished image of a style is measured against."""
        return paths.target_id(*self._evaluation_target)

    @property
    def _evaluation_target(self) -> paths.Target:
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


def _beyond(known: Mapping[str, Value], found: Mapping[str, Value]) -> dict[str, Value]:
    return {name: value for name, value in found.items() if name not in known}
