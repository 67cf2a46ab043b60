"""The same grid with the published package neural-style and with this program.

neural-style 0.5.7 (neural-style-pt) is called as its users call it, one process a picture; this program
makes the whole grid by ``nst run``: with VGG-19, with the compact encoder, and with that and a longer
schedule, for which its iterations leave the time.  They take turns, on the same cores, so that a slow
machine is slow for all.  All start from the content picture.

Both descend the same function: neural-style's weights are translated into relative ones (see
``_neural_style.PeerLoss.relative``; the mean over the pairs, since a grid has one setting), and the
total variation, of which neural-style's default is next to nothing, is left out.  Each keeps
its own schedule: neural-style one size and ``--iterations``, this program its pyramid.  Every picture
is judged by VGG-19, relative losses, at one size.

*Time to the peer's final loss* is, for one pair and style weight, the time of the shortest descent, all
iteration counts scaled alike, whose finished picture (8 bits) has at most the loss of neural-style's
finished picture, by neural-style's own formula.  Doubling and bisection find the shortest to 10 %.
For neural-style it is the time of its ``--iterations``.  Without start-up: the seconds of the descent,
neural-style's from its seconds an iteration; with start-up: wall-clock of a whole process, for
this program of ``nst stylize``.

A virtual environment for neural-style (5 GB with torch):

    python3 -m venv peer && peer/bin/pip install neural-style==0.5.7
    python benchmarks/peers.py --weights vgg19.pth --peer-python peer/bin/python

``--crowson DIR`` also times a checkout of crowsonkb/style-transfer-pytorch (in the same environment, with
``pip install aiohttp tifffile tqdm``) on its own defaults, for the first pair.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import _crowson
import torch
from _common import NST, add_options, machine_name, make_encoder, save, timed_process, use_threads
from _peers_page import to_markdown
from _peers_runs import EVAL_LAYERS, GRIDS, Bench, reach, run_crowson, run_grid, run_peer

from nstcore.core.encoders.vgg import read_state
from nstcore.core.settings import Settings
from nstcore.store.files import file_sha256


def measure_all(bench: Bench) -> dict[str, Any]:
    """Everything, in turns: a pair by neural-style, its final loss by ours, a whole grid by ours."""
    options = bench.options
    result: dict[str, Any] = {"peer": [], "peer_short": [], "grids": [], "reach": [], "crowson": []}
    middle = sorted(options.style_weights)[len(options.style_weights) // 2]
    # Every grid has its turn at least once, though there may be fewer pairs.
    for number in range(max(len(bench.pairs), len(GRIDS))):
        if number < len(bench.pairs):
            pair = bench.pairs[number]
            for style_weight in options.style_weights:
                made = run_peer(bench, pair, style_weight, options.iterations)
                result["peer"].append(made)
                chosen = {
                    "none": False,
                    "first": style_weight == middle and number == 0,
                    "middle": style_weight == middle,
                    "all": True,
                }
                if chosen[options.reach]:
                    encoders = dict.fromkeys(GRIDS.values())
                    result["reach"] += [reach(bench, encoder, pair, made) for encoder in encoders]
            short = run_peer(bench, pair, middle, options.short_iterations)
            result["peer_short"].append(short)
            if options.crowson is not None and number == 0:
                result["crowson"].append(run_crowson(bench, pair))
            print(f"{' x '.join(pair.name)}: neural-style {made['wall_seconds']:.0f} s", flush=True)
        grid = list(GRIDS)[number % len(GRIDS)]
        result["grids"].append(run_grid(bench, grid, number))
        seconds = result["grids"][-1]["wall_seconds"]
        print(f"the grid by nst run, {grid}: {seconds:.0f} s", flush=True)
    return result


def summarize(result: dict[str, Any]) -> dict[str, Any]:
    """The figures of the goals, from what was measured."""
    peer, short = result["peer"], result["peer_short"]
    steps = peer[0]["iterations"] - short[0]["iterations"]
    mean = statistics.fmean
    middle = short[0]["style_weight"]
    long = [row["wall_seconds"] for row in peer if row["style_weight"] == middle]
    step = (mean(long) - mean(row["wall_seconds"] for row in short)) / steps
    found: dict[str, Any] = {
        "peer": {
            "grid_seconds": sum(row["wall_seconds"] for row in peer),
            "seconds_per_iteration": step,
            "start_seconds": mean(long) - step * peer[0]["iterations"],
            **_peaks(peer),
            **{key: mean(row[key] for row in peer) for key in EVAL_LAYERS},
        }
    }
    by_cell = {(*row["pair"], row["style_weight"]): row for row in peer}
    for name in GRIDS:
        grids = [grid for grid in result["grids"] if grid["grid"] == name]
        cells = [cell for grid in grids for cell in grid["cells"]]
        own = found[name] = {
            "grid_seconds": mean(grid["wall_seconds"] for grid in grids),
            "seconds_per_iteration": mean(cell["seconds_per_iteration"] for cell in cells),
            **_peaks(grids),
            **{key: mean(cell[key] for cell in cells) for key in EVAL_LAYERS},
        }
        for key in (*EVAL_LAYERS, "peer_loss"):
            own[f"{key}_ratio"] = statistics.geometric_mean(
                cell[key] / by_cell[(*cell["pair"], cell["style_weight"])][key] for cell in cells
            )
        rows = [row for row in result["reach"] if row["encoder"] == name]
        own["reached"] = f"{sum(row['reached'] for row in rows)} of {len(rows)}"
        own["time_to_loss"] = own["time_to_loss_with_start"] = None
        # One picture that never gets there would make any mean of the others a lie.
        if rows and all(row["reached"] for row in rows):
            own["time_to_loss"] = statistics.geometric_mean(
                row["seconds"] / (step * peer[0]["iterations"]) for row in rows
            )
            own["time_to_loss_with_start"] = statistics.geometric_mean(
                row["process"]["wall_seconds"]
                / by_cell[(*row["pair"], row["style_weight"])]["wall_seconds"]
                for row in rows
            )
    return found


def _peaks(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    return {key: max(row[key] for row in rows) for key in ("largest_mb", "together_mb")}


def peer_versions(python: Path) -> dict[str, str]:
    """Versions in the peer's environment."""
    code = (
        "import json; from importlib.metadata import version as v; "
        "print(json.dumps({n: v(n) for n in ('neural-style', 'torch')}))"
    )
    found: dict[str, str] = json.loads(
        subprocess.check_output([str(python), "-c", code], text=True)
    )
    return found


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        description="Compare with neural-style 0.5.7 on the same grid.",
        epilog="neural-style wants an environment of its own: python3 -m venv peer && "
        "peer/bin/pip install neural-style==0.5.7",
    )
    parser.add_argument("--weights", type=Path, required=True, help="VGG-19 state dict")
    parser.add_argument(
        "--peer-python", type=Path, required=True, help="Python where neural-style is installed"
    )
    parser.add_argument("--contents", type=Path, nargs="+", help="files (default: the demo's)")
    parser.add_argument("--styles", type=Path, nargs="+", help="files (default: two of the demo's)")
    parser.add_argument("--style-weights", type=float, nargs="+", default=[10, 100, 1000])
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--judge-size", type=int, default=256)
    parser.add_argument("--iterations", type=int, default=500, help="of neural-style")
    parser.add_argument(
        "--short-iterations", type=int, help="of its short runs (default: a tenth of them)"
    )
    parser.add_argument("--schedule", type=int, nargs="+", help="our iterations (default: our own)")
    parser.add_argument(
        "--longer",
        type=int,
        nargs="+",
        default=[270, 180],
        help="our iterations in the second grid of the compact encoder (default: 270 180)",
    )
    parser.add_argument("--tv-weight", type=float, default=0.0, help="ours (default: none)")
    parser.add_argument(
        "--reach",
        choices=("middle", "all", "first", "none"),
        default="middle",
        help="where the time to the peer's loss is sought: at the middle weight of every pair, "
        "everywhere, at the middle weight of the first pair, nowhere",
    )
    parser.add_argument(
        "--crowson", type=Path, help="a checkout of style-transfer-pytorch, for the first pair"
    )
    parser.add_argument("--pictures", type=Path, help="folder for all pictures")
    add_options(parser)
    return parser


def main() -> None:
    """Measure and write ``peers.json`` and ``.md``, on a GPU ``peers_cuda``."""
    parser = make_parser()
    options = parser.parse_args()
    if not options.peer_python.is_file():
        parser.error(f"--peer-python: there is no {options.peer_python}; {parser.epilog}")
    options.short_iterations = options.short_iterations or max(2, options.iterations // 10)
    # Not resolved: a virtual environment's python is a link that loses its environment by that.
    for name in ("peer_python", "weights", "crowson", "pictures"):
        if getattr(options, name) is not None:
            setattr(options, name, getattr(options, name).absolute())
    use_threads(options.threads)
    with tempfile.TemporaryDirectory(prefix="peers-") as name:
        folder = Path(name)
        if not (options.contents and options.styles):
            timed_process([*NST, "demo", "demo"], folder=folder)
            demo = folder / "demo"
            options.contents = options.contents or sorted((demo / "contents").iterdir())[:2]
            options.styles = options.styles or [
                demo / "styles" / f"{n}.jpg" for n in ("night", "wave")
            ]
        if options.crowson is not None:
            _crowson.write_weights(read_state(options.weights), folder / "torch")
        judge = make_encoder("vgg19", options.weights, "relu5_1", options.device)
        bench = Bench(options, folder, judge)
        bench.prepare()
        result = {
            "machine": machine_name(options.device),
            "torch": torch.__version__,
            "peer_versions": peer_versions(options.peer_python),
            "weights_sha256": file_sha256(options.weights),
            "size": options.size,
            "judge_size": options.judge_size,
            "iterations": options.iterations,
            "short_iterations": options.short_iterations,
            "schedules": {
                grid: Settings(**bench.settings(grid)).level_iterations() for grid in GRIDS
            },
            "style_weights": {f"{w:g}": bench.our_weight(w) for w in options.style_weights},
            "style_layers": bench.settings("compact")["style_layers"],
            "tv_weight": options.tv_weight,
            **measure_all(bench),
        }
    result["summary"] = summarize(result)
    save(
        "peers" if options.device == "cpu" else "peers_cuda",
        result,
        to_markdown(result),
        options.out,
    )


if __name__ == "__main__":
    main()
