"""Batches that travel: what a job needs and what it has made, in one archive each.

Where jobs share no file system with the run, an archive takes the plan, the prepared inputs and the cells
that are finished to a node, and another brings images and records back.  The names in an archive begin
with the folder that a file belongs to: ``run``, ``store``, or ``work``, from which paths start.
"""

from __future__ import annotations

import io
import shutil
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from nstcore.errors import UnusableInput, UserError
from nstcore.jobs.manifests import write_manifest
from nstcore.jobs.snapshots import snapshots_of
from nstcore.jobs.stylize import BatchJob
from nstcore.jobs.workflow_files import SELECTION, RunFiles, cells_rule, packed_tries
from nstcore.jobs.workflow_jobs import cell_files, make_batch
from nstcore.plan import paths
from nstcore.plan.plan import Cell, Plan
from nstcore.plan.snapshot import PLAN_FILE, SNAPSHOT, plan_of_batch
from nstcore.store.cells import StoredCell
from nstcore.store.files import atomic_path, write_text


def pack_batch(plan: Plan, stage: str, part: str, archive: str) -> None:
    """Write the archive that a node needs to make a batch.

    Raises:
        UserError: an image to start from is not below the working directory.
    """
    cells = cells_rule(plan, stage).cells({"part": part})
    run = Path(plan.config.run_dir)
    own = [SNAPSHOT] if stage == "batches" else [SNAPSHOT, PLAN_FILE, SELECTION]
    encoders = {**plan.encoders, **plan.refined_encoders}
    own += [p.format(encoder=e) for e in encoders for p in (paths.ENCODER, paths.ENCODER_METADATA)]
    own += {str(Path(paths.CONTENT).parent.parent / cell.content) for cell in cells}
    own += {str(Path(paths.STYLE).parent.parent / cell.style) for cell in cells}
    with _writing(archive) as tar:
        if stage == "batches":
            written = plan_of_batch(run / SNAPSHOT, part)
            member = tarfile.TarInfo(f"run/{PLAN_FILE}")
            member.size = len(written)
            tar.addfile(member, io.BytesIO(written))
        for name in own:
            if (run / name).exists():
                tar.add(run / name, f"run/{name}")
        for start in RunFiles(plan).starts(cells):
            path = Path(start)
            if path.is_absolute() or ".." in path.parts:
                raise UserError(
                    f"init_file: {start}: without a shared file system only an image below the "
                    "working directory reaches the jobs; copy it there"
                )
            tar.add(path, f"work/{start}")
        _add_cells(tar, BatchJob(plan, None), cells, others=False)


def unpack(archive: str, folders: Mapping[str, Path]) -> None:
    """Put the files of an archive into some of the folders that they belong to.

    What a store has stays as it is: its names are keys of what is in the files.
    """
    with tarfile.open(archive) as tar:
        for member in tar:
            folder, _, name = member.name.partition("/")
            if folder not in folders or not member.isfile():
                continue
            target = folders[folder] / name
            if folder == "store" and target.exists():
                continue
            tarfile.data_filter(member.replace(name=name), str(folders[folder]))
            content = tar.extractfile(member)
            assert content is not None
            with atomic_path(target, mode=member.mode) as temporary, open(temporary, "wb") as file:
                shutil.copyfileobj(content, file)


def make_packed_batch(
    plan: Plan, stage: str, part: str, archive: str, made: str, *, threads: int
) -> None:
    """Make the cells of an archive and write what comes back."""
    unpack(archive, {"store": Path(plan.config.store_dir)})
    cells = cells_rule(plan, stage).cells({"part": part})
    job = BatchJob(plan, threads)
    make_batch(plan, stage, part, RunFiles(plan).manifest(stage, part), threads=threads)
    with _writing(made) as tar:
        _add_cells(tar, job, cells, others=True)
        run = Path(plan.config.run_dir)
        for cell in cells if plan.config.snapshots else ():
            stored = _stored(job, cell)
            for file in snapshots_of(run, cell.image, stored.key if stored else "").values():
                tar.add(run / file, f"run/{file}")


def unpack_batch(plan: Plan, stage: str, part: str, made: str, manifest: str) -> None:
    """Bring what a node has made into the run and the store, and write the batch's manifest."""
    unpack(made, {"run": Path(plan.config.run_dir), "store": Path(plan.config.store_dir)})
    cells = cells_rule(plan, stage).cells({"part": part})
    job = BatchJob(plan, None)
    failed = []
    for cell in cells:
        stored = _stored(job, cell)
        if stored is None:
            failed.append(cell.image)
        else:
            job.link(job.batch_cell(cell), stored)
    if failed and not plan.config.allow_failures:
        write_text(packed_tries(plan, stage, part), "\n".join(failed))
    write_manifest(manifest, cell_files(cells))


@contextmanager
def _writing(archive: str) -> Iterator[tarfile.TarFile]:
    with atomic_path(archive) as temporary, tarfile.open(temporary, "w") as tar:
        yield tar


def _add_cells(tar: tarfile.TarFile, job: BatchJob, cells: Sequence[Cell], *, others: bool) -> None:
    """Add finished cells from the store; of the others perhaps the placeholders that say why."""
    store, run = job.store, Path(job.plan.config.run_dir)
    for cell in cells:
        stored = _stored(job, cell)
        if stored is None:
            for file in cell_files([cell]) if others else ():
                tar.add(run / file, f"run/{file}")
            continue
        inputs = job.inputs.evaluation(cell.style, cell.content)
        metrics = inputs.evaluation_key(stored.record["image"]["sha256"])
        # The record comes last: a cell without one does not exist.
        found = (
            store.path("metrics", metrics, ".json"),
            stored.image,
            store.path("cells", stored.key, ".json"),
        )
        for path in found:
            if path.is_file():
                tar.add(path, f"store/{path.relative_to(store.root)}")


def _stored(job: BatchJob, cell: Cell) -> StoredCell | None:
    try:
        return job.store.find(job.batch_cell(cell).key)
    except UnusableInput:
        return None
