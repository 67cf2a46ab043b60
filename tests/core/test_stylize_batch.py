"""From contents and styles to pictures: a batch is what its pictures are alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from objectives import objective_of

from nstcore.core.batched import to_tensor
from nstcore.core.history import Result
from nstcore.core.minimize import Problem
from nstcore.core.moments import style_moments
from nstcore.core.optimizers.lbfgs import LBFGSMinimizer
from nstcore.core.settings import Settings
from nstcore.core.stylize import StylizeTask, stylize
from nstcore.core.targets import image_moments
from nstcore.images import resize

HEIGHT, WIDTH = 36, 48

# Everything that the tests rely on; the defaults are free to change with taste.
BASE = {
    "size": 48,
    "pyramid_start": 48,
    "pyramid_factor": 2.0,
    "iterations": 10,
    "optimizer": "lbfgs",
    "history": 20,
    "init": "content",
    "init_noise": 0.0,
    "normalization": "relative",
    "content_layers": ["relu4_2"],
    "style_layers": ["relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"],
    "content_weight": 1.0,
    "style_weight": 10.0,
    "tv_weight": 0.0,
}
PYRAMID = {"size": 64, "pyramid_start": 32, "iterations": [7, 12]}


@pytest.fixture
def task(random_vgg, waves) -> Callable[..., StylizeTask]:
    """Make tasks of different contents and styles."""

    def make(
        content: int = 0, style: int = 10, seed: int = 0, start: Any = None, **options: Any
    ) -> StylizeTask:
        settings = Settings(**{**BASE, **options})
        painting = waves(40, 56, style)
        size = settings.size
        moments = [
            image_moments(random_vgg(), painting, settings.style_size(level), settings.layers)
            for level in settings.level_sizes()
        ]
        return StylizeTask(
            content=waves(size * 3 // 4, size, content),
            styles=moments,
            settings=settings,
            seed=seed,
            style_image=painting,
            start=start,
        )

    return make


def _close(one: Result, other: Result, tolerance: float = 1e-4) -> None:
    np.testing.assert_allclose(one.image, other.image, atol=tolerance)
    assert one.trace.keys() == other.trace.keys()
    for column, values in one.trace.items():
        np.testing.assert_allclose(values, other.trace[column], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": "lbfgs"},
        {"optimizer": "adam", "iterations": 5},
        {"optimizer": "lbfgs", "normalization": "gatys", "pooling": "avg", "iterations": 5},
        {"optimizer": "lbfgs", "statistic": "w2"},
        {"optimizer": "adam", "size": 64, "pyramid_start": 32, "iterations": [5, 5]},
        {"optimizer": "lbfgs", "init": "noise"},
    ],
    ids=["lbfgs", "adam", "gatys", "w2", "adam pyramid", "noise"],
)
def test_one_picture_alone_is_the_same_inside_a_batch(random_vgg, task, options):
    encoder = random_vgg(pooling=options.get("pooling", "max"))
    tasks = [
        task(content=0, style=10, seed=1, style_weight=1.0, **options),
        task(content=1, style=11, seed=2, style_weight=100.0, tv_weight=0.5, **options),
        task(content=0, style=12, seed=1, content_weight=3.0, **options),
    ]
    together = stylize(encoder, tasks)
    for one, result in zip(tasks, together, strict=True):
        (alone,) = stylize(encoder, [one])
        _close(alone, result)
        assert alone.status == result.status == "ok"
    # The comparison means something: the pictures differ from each other and from their start.
    assert np.abs(together[0].image - together[2].image).max() > 0.01
    assert np.abs(together[0].image - tasks[0].content).max() > 0.01


@pytest.mark.parametrize(
    ("normalization", "statistic"), [("relative", "gram"), ("relative", "w2"), ("gatys", "gram")]
)
def test_pictures_are_independent_to_the_digits_of_float64(random_vgg, normalization, statistic):
    """In float32 rounding grows from step to step; here it cannot hide an influence."""
    encoder = random_vgg(dtype=torch.float64, pooling="avg")
    random = torch.Generator().manual_seed(0)
    contents, styles = torch.rand(2, 3, 3, 24, 32, generator=random, dtype=torch.float64)
    layers = ["relu1_1", "relu3_1", "relu5_1"]

    def path(rows: list[int]) -> torch.Tensor:
        weights = torch.tensor([[1, 1, 0], [1, 100, 0.5], [3, 10, 5]], dtype=torch.float64)[rows]
        objective = objective_of(
            encoder,
            content=encoder(contents[rows], ["relu4_2"]),
            style=style_moments(encoder, styles[rows], layers),
            content_layers={"relu4_2": 1.0},
            style_layers=dict.fromkeys(layers, 1.0),
            content_weight=weights[:, 0],
            style_weight=weights[:, 1],
            tv_weight=weights[:, 2],
            normalization=normalization,
            statistic=statistic,
        )
        seen = []

        def watched(image: torch.Tensor):
            seen.append(image.detach().clone())
            return objective.evaluate(image)

        rate = torch.ones(len(rows), dtype=torch.float64)
        LBFGSMinimizer(Problem(watched, contents[rows], 12), Settings(history=5), rate).run()
        return torch.stack(seen)

    together = path([0, 1, 2])
    for row in range(3):
        torch.testing.assert_close(path([row])[:, 0], together[:, row], rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
@pytest.mark.parametrize("init", ["content", "noise", "style"])
def test_luminance_alone_gives_grey_pictures(random_vgg, task, optimizer, init):
    options = {**PYRAMID, "color": "luminance", "optimizer": optimizer, "init": init}
    results = stylize(random_vgg(), [task(**options), task(style_weight=1.0, **options)])
    for result in results:
        assert np.ptp(result.image, axis=-1).max() == 0
        assert result.image.std() > 0.01
    assert np.abs(results[0].image - results[1].image).max() > 0.01
    (alone,) = stylize(random_vgg(), [task(**options)])
    _close(alone, results[0], 1e-3)


def test_shared_contents_and_styles_are_the_same_as_copies_of_them(random_vgg, task):
    first = task(style_weight=1.0)
    second = StylizeTask(
        first.content, first.styles, first.settings.model_copy(update={"tv_weight": 1.0})
    )
    copied = StylizeTask(
        second.content.copy(), [dict(level) for level in first.styles], second.settings
    )
    shared = stylize(random_vgg(), [first, second])
    for one, other in zip(shared, stylize(random_vgg(), [first, copied]), strict=True):
        _close(one, other, 1e-5)


def test_a_repeated_run_is_the_same_to_the_last_bit(random_vgg, task):
    tasks = [task(init="noise", seed=3), task(content=1, init="noise", seed=4)]
    for one, other in zip(*(stylize(random_vgg(), tasks) for _ in range(2)), strict=True):
        assert np.array_equal(one.image, other.image)


def test_results_are_pictures(random_vgg, task):
    (result,) = stylize(random_vgg(), [task()])
    assert result.image.shape == (HEIGHT, WIDTH, 3)
    assert result.image.dtype == np.float32
    assert result.image.min() >= 0
    assert result.image.max() <= 1
    assert result.image.flags["C_CONTIGUOUS"]
    assert (result.status, result.reason, result.rollbacks) == ("ok", None, 0)


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
def test_the_pyramid_reports_its_levels(random_vgg, task, optimizer):
    seen: list[tuple[int, int]] = []
    one = task(**PYRAMID, optimizer=optimizer)
    (result,) = stylize(
        random_vgg(), [one], progress=lambda done, total, losses: seen.append((done, total))
    )
    assert [(x.width, x.height, x.iterations) for x in result.levels] == [(32, 24, 7), (64, 48, 12)]
    assert all(x.seconds > 0 for x in result.levels)
    assert result.image.shape == (48, 64, 3)
    assert result.trace["iteration"] == [7, 17, 19]
    assert result.trace["level"] == [0, 1, 1]
    assert seen == [(7, 19), (17, 19), (19, 19)]
    assert set(result.trace) == {
        "iteration",
        "level",
        "total_loss",
        "content_loss",
        "style_loss",
        "tv_loss",
    }


def test_the_trace_adds_up(random_vgg, task):
    tasks = [task(style_weight=3.0, tv_weight=2.0), task(content=1, content_weight=0.5)]
    for one, result in zip(tasks, stylize(random_vgg(), tasks), strict=True):
        s, trace = one.settings, result.trace
        for total, content, style, tv in zip(
            *(trace[f"{name}_loss"] for name in ("total", "content", "style", "tv")), strict=True
        ):
            expected = s.content_weight * content + s.style_weight * style + s.tv_weight * tv
            assert total == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
def test_the_loss_falls(random_vgg, task, optimizer):
    (result,) = stylize(random_vgg(), [task(iterations=60, optimizer=optimizer)])
    total = result.trace["total_loss"]
    assert total[-1] < 0.7 * total[0]
    assert total[-1] == pytest.approx(min(total), rel=0.02)


def test_more_style_weight_trades_content_for_style(random_vgg, task):
    weights = [0.1, 1.0, 10.0, 100.0]
    tasks = [task(style_weight=weight, iterations=60) for weight in weights]
    results = stylize(random_vgg(), tasks)
    style = [result.trace["style_loss"][-1] for result in results]
    content = [result.trace["content_loss"][-1] for result in results]
    assert style == sorted(style, reverse=True)
    assert content == sorted(content)
    assert style[0] > 2 * style[-1]
    assert content[-1] > 2 * content[0]


def test_descending_one_statistic_lowers_the_other(random_vgg, task):
    """Gaussians with equal means and covariances have equal Gram matrices."""
    encoder = random_vgg()

    def errors(one: StylizeTask, image: torch.Tensor, statistic: str) -> torch.Tensor:
        with torch.no_grad():
            objective = objective_of(
                encoder,
                content={"relu4_2": torch.ones(1)},
                style=one.styles[-1],
                content_layers={},
                style_layers=one.settings.style_layers,
                content_weight=torch.zeros(1),
                style_weight=torch.ones(1),
                tv_weight=torch.zeros(1),
                statistic=statistic,
            )
            return objective(image).style

    for statistic in ("gram", "w2"):
        one = task(statistic=statistic, content_weight=0.0, iterations=40)
        (result,) = stylize(encoder, [one])
        for measured in ("gram", "w2"):
            before, after = (
                float(errors(one, to_tensor(pixels), measured))
                for pixels in (one.content, result.image)
            )
            assert after < 0.5 * before, (statistic, measured)


def test_more_total_variation_weight_smooths(random_vgg, task):
    tasks = [task(tv_weight=weight, iterations=30, init="noise") for weight in (0.0, 10.0, 100.0)]
    tv = [result.trace["tv_loss"][-1] for result in stylize(random_vgg(), tasks)]
    assert tv == sorted(tv, reverse=True)
    assert tv[-1] < 0.5 * tv[0]


def test_style_weight_0_from_the_content_changes_nothing(random_vgg, task):
    one = task(style_weight=0.0)
    (result,) = stylize(random_vgg(), [one])
    np.testing.assert_allclose(result.image, one.content, atol=1e-6)
    assert result.trace["content_loss"][-1] == pytest.approx(0, abs=1e-9)


# --- starts -----------------------------


def test_seeds_repeat_noise_and_change_it(random_vgg, task):
    tasks = [task(init="noise", seed=seed, iterations=2) for seed in (5, 5, 6)]
    first, again, other = (result.image for result in stylize(random_vgg(), tasks))
    np.testing.assert_allclose(first, again, atol=1e-6)
    assert np.abs(first - other).max() > 0.1


def test_a_seed_changes_nothing_where_the_settings_do_not_use_it(random_vgg, task):
    tasks = [task(seed=seed, iterations=2) for seed in (5, 6)]
    assert not tasks[0].settings.uses_seed
    first, other = (result.image for result in stylize(random_vgg(), tasks))
    np.testing.assert_allclose(first, other, atol=1e-6)


def test_initial_noise_depends_on_the_seed(random_vgg, task):
    tasks = [task(seed=seed, iterations=1, init_noise=0.1) for seed in (5, 6)]
    first, other = (result.image for result in stylize(random_vgg(), tasks))
    assert np.abs(first - other).max() > 0.1
    assert np.abs(first - tasks[0].content).mean() < 0.1


def test_style_start_has_the_styles_colours(random_vgg, task):
    one = task(init="style", iterations=1)
    (result,) = stylize(random_vgg(), [one])
    # One evaluation: the start itself, cut to [0, 1].
    style = one.style_image.reshape(-1, 3)
    start = result.image.reshape(-1, 3)
    np.testing.assert_allclose(start.mean(0), style.mean(0), atol=0.05)
    spread = np.linalg.norm(np.cov(style.T) - np.cov(start.T)) / np.linalg.norm(np.cov(style.T))
    assert spread < 0.3  # cutting to [0, 1] takes a part of the covariance away
    with pytest.raises(ValueError, match="style's image"):
        stylize(random_vgg(), [StylizeTask(one.content, one.styles, one.settings)])


@pytest.mark.parametrize("statistic", ["gram", "w2"])
def test_a_grey_style_is_fine(random_vgg, task, waves, statistic):
    grey = np.repeat(waves(40, 56, 4)[..., :1], 3, axis=2)
    one = task(init="style", statistic=statistic)
    moments = [image_moments(random_vgg(), grey, 48, one.settings.layers)]
    one = StylizeTask(one.content, moments, one.settings, style_image=grey)
    (result,) = stylize(random_vgg(), [one])
    assert result.status == "ok"
    assert np.isfinite(result.image).all()


def test_a_file_is_the_start_at_the_coarsest_size(random_vgg, task, waves):
    start = waves(90, 120, 77)
    one = task(init="file", init_file="start.png", iterations=1, start=start)
    (result,) = stylize(random_vgg(), [one])
    np.testing.assert_allclose(result.image, resize(start, (WIDTH, HEIGHT)), atol=1e-6)
    with pytest.raises(ValueError, match="image to start from"):
        stylize(random_vgg(), [StylizeTask(one.content, one.styles, one.settings)])


# --- what does not go together, and what goes wrong -----------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"iterations": 9},
        {"pooling": "avg"},
        {"optimizer": "adam", "iterations": 5},
        {"init": "noise"},
        {"statistic": "w2"},
    ],
)
def test_tasks_that_do_not_go_together_are_refused(random_vgg, task, change):
    with pytest.raises(ValueError, match="must agree"):
        stylize(random_vgg(), [task(), task(**change)])


def test_contents_of_different_sizes_are_refused(random_vgg, task, waves):
    one = task()
    other = StylizeTask(waves(48, 48), one.styles, one.settings)
    with pytest.raises(ValueError, match="must agree in size"):
        stylize(random_vgg(), [one, other])


@pytest.mark.parametrize("statistic", ["gram", "w2"])
@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
def test_a_picture_without_a_finite_loss_is_diverged_and_alone(
    random_vgg, task, optimizer, statistic
):
    tasks = [task(content=i, optimizer=optimizer, statistic=statistic) for i in range(3)]
    bad = tasks[1].content.copy()
    bad[3, 4] = np.nan
    broken = [tasks[0], StylizeTask(bad, tasks[1].styles, tasks[1].settings), tasks[2]]
    expected, found = stylize(random_vgg(), tasks), stylize(random_vgg(), broken)
    assert [result.status for result in found] == ["ok", "diverged", "ok"]
    assert found[1].reason
    assert "\n" not in found[1].reason
    for i in (0, 2):
        assert np.array_equal(found[i].image, expected[i].image)


def test_rates_that_make_l_bfgs_explode_still_give_a_better_picture(random_vgg, task):
    tasks = [task(iterations=40, learning_rate=rate) for rate in (1.0, 30.0)]
    calm, wild = stylize(random_vgg(), tasks)
    assert wild.rollbacks > 0
    assert calm.rollbacks == 0
    assert wild.status == "ok"
    assert np.isfinite(wild.image).all()


@pytest.mark.parametrize("shape", [(16, 160), (160, 16), (20, 64)])
def test_narrow_pictures_pass_every_level(random_vgg, task, shape, waves):
    options = {"size": max(shape), "pyramid_start": 32, "iterations": 2}
    one = task(**options)
    (result,) = stylize(random_vgg(), [StylizeTask(waves(*shape), one.styles, one.settings)])
    assert result.image.shape == (*shape, 3)
    assert result.status == "ok"
