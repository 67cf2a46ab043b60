"""The diagram of docs/architecture.md: nstcore's packages and what each imports, as SVG.

It is made from the imports of the code; ``python -m tools.write_docs`` writes it. An arrow that
follows from others is left out: where A imports B and B imports C, A may import C anyway.
"""

from __future__ import annotations

import ast
import textwrap
import tomllib
from collections.abc import Iterator
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OUTPUT = ROOT / "docs" / "pictures" / "architecture.svg"

LEFT, WIDTH, GAP, LINE, LANE = 20, 640, 16, 17, 22
"""Pixels: where boxes begin, how wide they are, between boxes, a line of text, between arrows."""


def layers() -> list[str]:
    """Packages and modules of nstcore, the highest first, as the contract of import-linter has them."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        contracts = tomllib.load(file)["tool"]["importlinter"]["contracts"]
    [ordered] = [contract["layers"] for contract in contracts if contract["type"] == "layers"]
    return [name.strip("() ") for layer in ordered for name in layer.split("|")]


def files_of(name: str) -> list[Path]:
    """The Python files of a package or a module of nstcore."""
    path = ROOT / "nstcore" / name
    package = (path / "__init__.py").is_file()  # a former package's folder may hold caches
    return sorted(path.rglob("*.py")) if package else [path.with_suffix(".py")]


def imports_of(path: Path) -> Iterator[str]:
    """The packages and modules of nstcore that a file imports, wherever in it the import is."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            modules = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        else:
            continue
        for module in modules:
            head, _, rest = module.partition(".")
            if head == "nstcore" and rest:
                yield rest.partition(".")[0]


def arrows(names: list[str]) -> dict[str, set[str]]:
    """Package -> the packages that it imports."""
    return {
        name: {found for file in files_of(name) for found in imports_of(file) if found in names}
        - {name}
        for name in names
    }


def reduced(graph: dict[str, set[str]]) -> dict[str, set[str]]:
    """The arrows that do not follow from others; those of a circle all stay."""

    def reachable(start: str, seen: set[str]) -> set[str]:
        for following in graph[start] - seen:
            seen |= {following}
            reachable(following, seen)
        return seen

    behind = {name: reachable(name, set()) for name in graph}

    def follows(name: str, target: str, by: str) -> bool:
        """Whether an arrow follows from a way by another package, which is in no circle with either."""
        return target in behind[by] and name not in behind[by] and by not in behind[target]

    return {
        name: {to for to in targets if not any(follows(name, to, by) for by in targets - {to})}
        for name, targets in graph.items()
    }


def text_of(name: str) -> tuple[str, str, list[str]]:
    """Title, subject and lines of file names of a box."""
    files = files_of(name)
    about = ast.get_docstring(ast.parse(files[0].read_text(encoding="utf-8"))) or ""
    subject = " ".join(about.partition("\n\n")[0].split()).replace("``", "")
    folder = ROOT / "nstcore" / name
    if not (folder / "__init__.py").is_file():
        return f"{name}.py", subject, []
    stems = [
        file.relative_to(folder).with_suffix("").as_posix() for file in files if file.stem[0] != "_"
    ]
    nested = {parent: [s for s in stems if s.startswith(f"{parent}/")] for parent in parents(stems)}
    parts = [stem for stem in stems if "/" not in stem] + [
        f"{parent}/ ({', '.join(stem.partition('/')[2] for stem in inside)})"
        for parent, inside in nested.items()
    ]
    lines = textwrap.wrap(" · ".join(parts), 104, break_on_hyphens=False)
    return f"{name}/", subject, lines


def parents(stems: list[str]) -> list[str]:
    """The folders within a package."""
    return list(dict.fromkeys(stem.partition("/")[0] for stem in stems if "/" in stem))


def draw(names: list[str], graph: dict[str, set[str]]) -> str:
    """The diagram: a box for each package, higher ones above, arrows from importer to imported."""
    top, y, places, body = 14, 14, {}, []
    for name in names:
        title, subject, lines = text_of(name)
        wrapped = textwrap.wrap(subject, 96)
        height = 12 + LINE * (len(wrapped) + len(lines)) + LINE
        places[name] = (y, height)
        body.append(
            f'<rect class="box" x="{LEFT}" y="{y}" width="{WIDTH}" height="{height}" rx="6"/>'
        )
        styled = [("name", title), *(("about", x) for x in wrapped), *(("file", x) for x in lines)]
        for row, (kind, text) in enumerate(styled):
            at = y + 19 + row * LINE
            body.append(f'<text class="{kind}" x="{LEFT + 12}" y="{at}">{escape(text)}</text>')
        y += height + GAP
    lanes: list[list[tuple[int, int]]] = []
    pairs = [(a, b) for a in names for b in graph[a]]
    for source, target in sorted(pairs, key=lambda pair: span(names, *pair)):
        (ya, ha), (yb, hb) = places[source], places[target]
        first, last = sorted((names.index(source), names.index(target)))
        upward = names.index(source) > names.index(target)
        kind = "wrong" if upward else "arrow"
        if last - first == 1 and not upward:
            x = LEFT + WIDTH // 2
            body.append(f'<path class="{kind}" d="M{x},{ya + ha} L{x},{yb - 2}"/>')
            continue
        lane = next(
            (i for i, used in enumerate(lanes) if all(last <= a or b <= first for a, b in used)),
            len(lanes),
        )
        if lane == len(lanes):
            lanes.append([])
        lanes[lane].append((first, last))
        right, x = LEFT + WIDTH, LEFT + WIDTH + LANE * (lane + 1)
        start, end = ya + ha * 0.65, yb + hb * 0.35
        body.append(
            f'<path class="{kind}" d="M{right},{start:.0f} C{x},{start:.0f} {x},{start:.0f} '
            f"{x},{start + 14 * (1 if end > start else -1):.0f} L{x},{end - 14:.0f} "
            f'C{x},{end:.0f} {x},{end:.0f} {right + 3},{end:.0f}"/>'
        )
    width = LEFT + WIDTH + LANE * (len(lanes) + 1) + 10
    return "\n".join([HEAD.format(width=width, height=y - GAP + top), *body, "</svg>", ""])


def span(names: list[str], source: str, target: str) -> tuple[int, int]:
    """Short arrows first, so that they take the inner lanes."""
    return abs(names.index(source) - names.index(target)), names.index(source)


HEAD = """\
<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" \
viewBox="0 0 {width} {height}" font-family="sans-serif">
<style>
.box {{ fill: #f6f4ef; stroke: #8a8577 }}
.name {{ font-size: 15px; font-weight: bold; fill: #1d3557 }}
.about {{ font-size: 12.5px; fill: #333333 }}
.file {{ font-size: 11.5px; fill: #6a6558 }}
.arrow {{ fill: none; stroke: #1d3557; stroke-width: 1.4; marker-end: url(#head) }}
.wrong {{ fill: none; stroke: #c1121f; stroke-width: 2; marker-end: url(#head) }}
</style>
<marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" \
orient="auto"><path d="M0,0 L10,5 L0,10 z" fill="#1d3557"/></marker>
<rect width="{width}" height="{height}" fill="white"/>"""


def draw_architecture() -> str:
    """The diagram of the code as it is."""
    names = layers()
    return draw(names, reduced(arrows(names)))
