"""The plan: every cell of a run, its settings, its place and its batch.

A pure function of the configuration and of the lists of input files.  It looks at no output, no
clock and no picture's contents, so that a job on another machine finds the same plan.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from nstcore.config.load import given_settings, resolve_settings
from nstcore.config.model import ID_PATTERN, Config
from nstcore.config.settings import Settings
from nstcore.errors import ConfigError
from nstcore.grid import paths
from nstcore.grid.inputs import StyleSource, expand_contents, expand_styles
from nstcore.grid.names import LONGEST_NAME, digest, setting_name, spell_value
from nstcore.images.sizing import SizeBy

__all__ = ["ID_PATTERN", "Cell", "Group", "Plan", "Point"]


@dataclass(frozen=True)
class Point:
    """One point of the sweep, with one seed.

    Attributes:
        values: swept setting -> its value here, in the order of the configuration.
        seed: the random seed.
        settings: all settings.
        name: the name of the values; see :func:`nstcore.grid.names.setting_name`.
        stem: name of the picture's file without its suffix: ``name``, and the seed where the
            configuration has seeds.
    """

    values: dict[str, Any]
    seed: int
    settings: Settings
    name: str
    stem: str


@dataclass(frozen=True)
class Cell:
    """One output picture: content x style x point."""

    style: str
    content: str
    point: Point
    batch: str
    image: str
    """Path of the picture, from the run's folder."""

    @property
    def axes(self) -> dict[str, Any]:
        """Value of every axis: style, content, the swept settings, seed."""
        return {
            "style": self.style,
            "content": self.content,
            **self.point.values,
            "seed": self.point.seed,
        }


@dataclass(frozen=True)
class Group:
    """Points that one rule serves: its jobs differ in style and content only.

    Attributes:
        name: empty, or what tells this group's batches from others.
        points: in grid order.
        digest: of everything in the configuration that determines the group's cells.
    """

    name: str
    points: tuple[Point, ...]
    digest: str


class Plan:
    """Every cell of a run.

    Args:
        config: the checked configuration.

    Raises:
        ConfigError: if inputs are missing or values of the sweep do not go together.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        problems: list[str] = []
        self.contents: dict[str, str] = {}
        self.styles: dict[str, StyleSource] = {}
        try:
            self.contents = expand_contents(config.contents)
        except ConfigError as error:
            problems += error.problems
        try:
            self.styles = expand_styles(config.styles)
        except ConfigError as error:
            problems += error.problems
        self.points: tuple[Point, ...] = ()
        try:
            self.points = tuple(_points(config))
        except ConfigError as error:
            problems += error.problems
        problems += self._missing_files()
        if problems:
            raise ConfigError(problems)

    def _missing_files(self) -> list[str]:
        """Files besides the pictures that the settings name and that are not there."""
        named = {
            (name, path)
            for point in self.points
            for name in ("weights", "init_file")
            if (path := getattr(point.settings, name)) is not None
        }
        if self.config.evaluation.weights is not None:
            named.add(("evaluation.weights", self.config.evaluation.weights))
        return [
            f"{name}: there is no file {path} (paths start from {Path.cwd()})"
            for name, path in sorted(named)
            if not Path(path).is_file()
        ]

    @cached_property
    def axis_values(self) -> dict[str, list[Any]]:
        """Every axis and its values in order: style, content, the swept settings, seed."""
        values: dict[str, list[Any]] = {"style": list(self.styles), "content": list(self.contents)}
        for axis in self.config.sweep.axes:
            unique: dict[str, Any] = {}
            for point in self.points:
                unique.setdefault(digest(point.values[axis]), point.values[axis])
            values[axis] = list(unique.values())
        values["seed"] = self.config.sweep.seed_list
        return values

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """The points, divided into those whose cells of one style and content share a job."""
        by = [axis for axis in self.config.batch_by if axis not in ("style", "content")]
        parts: dict[str, list[Point]] = {}
        for point in self.points:
            label = ",".join(
                f"{axis}={spell_value(point.seed if axis == 'seed' else point.values[axis])}"
                for axis in by
            )
            parts.setdefault(label, []).append(point)
        groups: list[Group] = []
        for label, points in parts.items():
            if len(label) > LONGEST_NAME:
                label = f"{label[: LONGEST_NAME - 9]}~{digest(label)[:8]}"
            for bucket, members in self._split(points).items():
                name = ",".join(part for part in (label, bucket) if part)
                groups.append(Group(name, tuple(members), self._digest(members)))
        return tuple(groups)

    def _split(self, points: list[Point]) -> dict[str, list[Point]]:
        """Divide points into hash buckets where one job would have too many cells.

        A point's bucket depends on its own name and on the number of buckets alone, so that another
        value of an axis moves no point, unless the number itself has to double.
        """
        pairs = 1
        if "style" not in self.config.batch_by:
            pairs *= len(self.styles)
        if "content" not in self.config.batch_by:
            pairs *= len(self.contents)
        count = self.config.batch_split or 1
        if self.config.batch_split is None:
            while (
                count < len(points)
                and pairs * len(points) > count * self.config.max_cells_per_batch
            ):
                count *= 2
        if count == 1:
            return {"": points}
        buckets: dict[str, list[Point]] = {}
        for point in points:
            number = int(hashlib.sha256(point.stem.encode()).hexdigest()[:12], 16) % count
            buckets.setdefault(f"part{number + 1}of{count}", []).append(point)
        return dict(sorted(buckets.items()))

    def _digest(self, points: list[Point]) -> str:
        return digest(
            {
                "points": [[p.stem, p.settings.model_dump(), p.seed] for p in points],
                "output": self.config.output.model_dump(),
                "evaluation": self.evaluation,
            }
        )

    @cached_property
    def evaluation(self) -> dict[str, Any]:
        """Encoder, weights and size that judge every picture of the run."""
        base = resolve_settings(given_settings(self.config))
        given = self.config.evaluation
        encoder = given.encoder or base.encoder
        weights = given.weights
        if weights is None:
            files = self.config.settings.weights
            if isinstance(files, dict):
                weights = files.get(encoder)
            elif encoder == base.encoder:
                weights = files
        return {"encoder": encoder, "weights": weights, "size": given.size}

    def image_path(self, style: str, content: str, point: Point) -> str:
        """Path of a cell's picture, from the run's folder."""
        return f"cells/{style}/{content}/{point.stem}.{self.config.output.format}"

    def batch_id(self, style: str, content: str, group: Group) -> str:
        """Name of the batch of a cell: what its job's axes are."""
        parts = []
        if "style" in self.config.batch_by:
            parts.append(style)
        if "content" in self.config.batch_by:
            parts.append(content)
        if group.name:
            parts.append(group.name)
        return "/".join(parts) or "all"

    def cells(
        self,
        *,
        style: str | None = None,
        content: str | None = None,
        group: Group | None = None,
    ) -> Iterator[Cell]:
        """Cells in grid order: style, content, then the sweep; perhaps only some of them."""
        of_point = {id(point): g for g in self.groups for point in g.points}
        points = self.points if group is None else group.points
        for style_id in self.styles if style is None else [style]:
            for content_id in self.contents if content is None else [content]:
                for point in points:
                    yield Cell(
                        style_id,
                        content_id,
                        point,
                        self.batch_id(style_id, content_id, of_point[id(point)]),
                        self.image_path(style_id, content_id, point),
                    )

    def batch(self, group: str, style: str | None = None, content: str | None = None) -> list[Cell]:
        """The cells of one job.

        Args:
            group: name of the group whose points they have.
            style, content: the job's own, where these axes make batches.
        """
        chosen = next(g for g in self.groups if g.name == group)
        return list(self.cells(style=style, content=content, group=chosen))

    @cached_property
    def layout(self) -> dict[str, list[str]]:
        """Axes on rows, columns and pages of the contact sheets: every axis in exactly one place.

        Where the configuration is silent: a page for each style, contents as rows, all else as
        columns.
        """
        report = self.config.report
        given = {"rows": report.rows, "cols": report.cols, "pages": report.pages}
        used = {axis for axes in given.values() for axis in axes or []}
        axes = [a for a, values in self.axis_values.items() if len(values) > 1 and a not in used]
        layout = {place: list(axes or []) for place, axes in given.items()}
        for place, axis in (("pages", "style"), ("rows", "content")):
            if given[place] is None and axis in axes:
                layout[place].append(axis)
                axes.remove(axis)
        rest = next((place for place in ("cols", "rows", "pages") if given[place] is None), "cols")
        layout[rest] += axes
        # A sheet with a single row or column still says of what.
        for place, axis in (("rows", "content"), ("cols", "style")):
            free = axis not in [a for axes in layout.values() for a in axes]
            if not layout[place] and free:
                layout[place].append(axis)
        return layout

    @property
    def cell_count(self) -> int:
        """How many pictures the run makes."""
        return len(self.styles) * len(self.contents) * len(self.points)

    @cached_property
    def sizes(self) -> dict[str, tuple[int, SizeBy]]:
        """Every size at which contents have to be prepared, ascending, by its name in paths."""
        judge = Settings(size=self.evaluation["size"])
        settings = [judge, *(point.settings for point in self.points)]
        settings.sort(key=lambda one: (one.size, one.size_by))
        return {paths.size_label(one): (one.size, one.size_by) for one in settings}


def _points(config: Config) -> Iterator[Point]:
    """The product of all axes and seeds, in the order of the configuration, seeds last."""
    fixed = given_settings(config)
    names = list(config.sweep.axes)
    with_seed = "seeds" in config.sweep.model_fields_set
    problems: list[str] = []
    stems: dict[str, dict[str, Any]] = {}
    for values in itertools.product(*config.sweep.axes.values()):
        given = dict(zip(names, values, strict=True))
        where = "sweep.axes, " + ", ".join(f"{k}={spell_value(v)}" for k, v in given.items())
        try:
            settings = resolve_settings({**fixed, **given}, where=where if given else "settings")
        except ConfigError as error:
            problems += error.problems
            continue
        # As the settings understand them, so that 10 and 10.0 are the same value.
        canonical = {
            axis: value if axis == "preset" else getattr(settings, axis)
            for axis, value in given.items()
        }
        name = setting_name(canonical)
        seeds = config.sweep.seed_list
        if len(seeds) > 1 and not settings.uses_seed:
            problems.append(
                "sweep.seeds: with `init: content` every seed gives the same picture; set "
                "`init_noise` above 0 (0.1, say), or `init: noise`, or remove the seeds"
            )
            break
        if name in stems:
            problems.append(f"sweep.axes: two values give the same setting {name}; keep one")
        stems[name] = canonical
        for seed in seeds:
            stem = f"{name},seed={seed}" if with_seed else name
            yield Point(canonical, seed, settings, name, stem)
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))
