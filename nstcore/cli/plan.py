"""``nst plan``: what a run would be, before it is one."""

from __future__ import annotations

import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from nstcore.encoders.weights import locate
from nstcore.errors import ImageError, WeightsError
from nstcore.grid import paths
from nstcore.grid.freeze import read_plan
from nstcore.grid.names import spell_value
from nstcore.grid.plan import Plan
from nstcore.run import prepare
from nstcore.store.atomic import write_json
from nstcore.store.cells import Store
from nstcore.store.digests import file_sha256


def show_plan(config: Path) -> int:
    """Print the axes of a configuration, its cells and batches, and what the store has of them."""
    plan = read_plan(config)
    console = Console()
    table = Table("axis", "values", "", title=f"run {plan.config.run}", title_justify="left")
    for axis, values in plan.axis_values.items():
        shown = ", ".join(spell_value(value) for value in values)
        table.add_row(axis, str(len(values)), shown)
    console.print(table)
    batches = {cell.batch for cell in plan.cells()}
    cells = f"{plan.cell_count} cell" + "s" * (plan.cell_count != 1)
    console.print(f"{cells} in {len(batches)} batch" + "es" * (len(batches) != 1))
    try:
        keys = cell_keys(plan)
    except WeightsError as error:
        console.print(f"what is in the store cannot be told yet: {error}", soft_wrap=True)
        return 0
    store = Store(plan.config.store_dir)
    new = {key for key in set(keys) if not store.has(key)}
    present = sum(key not in new for key in keys)
    twins = len(keys) - present - len(new)
    alike = f" ({twins} more are equal to one of them)" if twins else ""
    console.print(f"{present} already in the store, {len(new)} to compute{alike}")
    return 0


def cell_keys(plan: Plan) -> list[str]:
    """The keys of all cells, found without a trace in the run's folder.

    Raises:
        WeightsError: if an encoder's weights are not on this machine.
        ImageError: if a picture or a guide cannot be read.
        ConfigError: if contents and styles do not have the same regions.
    """
    with tempfile.TemporaryDirectory(prefix="nst-plan-") as folder:
        # The same plan in another place: its inputs are prepared there, and nothing is computed.
        elsewhere = Plan(plan.config.model_copy(update={"results": folder}))
        root = Path(elsewhere.config.run_dir)
        for name, (encoder, weights) in prepare.encoders(plan).items():
            facts = {
                "name": encoder,
                "source": "",
                "sha256": file_sha256(locate(encoder, weights)),
            }
            write_json(root / paths.ENCODER_FACTS.format(encoder=name), facts)
        problems: list[str] = []
        for content in plan.contents:
            try:
                prepare.prepare_content(elsewhere, content)
                if plan.contents[content].guide is not None:
                    prepare.prepare_content_guide(elsewhere, content)
            except ImageError as error:
                problems.append(f"contents.{content}: {error}")
        for style, source in plan.styles.items():
            for index in range(len(source.paths)):
                try:
                    prepare.prepare_style(elsewhere, style, index)
                    if source.guide(index) is not None:
                        prepare.prepare_style_guide(elsewhere, style, index)
                except ImageError as error:
                    problems.append(f"styles.{style}: {error}")
        if problems:
            raise ImageError("\n".join(problems))
        prepare.check_regions(elsewhere)
        return [prepare.key_of(elsewhere, cell) for cell in elsewhere.cells()]
