"""Optimizers and losses are found by themselves, and asking for them does not load torch."""

from __future__ import annotations

import subprocess
import sys

import pytest

from nstcore.core.lazy import discover, lazy_import
from nstcore.core.losses import STYLE_LOSSES
from nstcore.core.minimize import Minimizer
from nstcore.core.optimizers import OPTIMIZERS
from nstcore.core.settings import Settings


@pytest.mark.parametrize("module", ["nstcore.core.optimizers", "nstcore.core.losses"])
def test_importing_a_registry_does_not_import_torch(module):
    code = f"import sys, {module}; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_optimizer_describes_itself():
    assert set(OPTIMIZERS) == {"adam", "lbfgs"}
    settings = Settings(history=7)
    for name, optimizer in OPTIMIZERS.items():
        assert optimizer.name == name
        assert optimizer.label
        assert optimizer.formula
        assert Settings(optimizer=name).step_length == optimizer.default_learning_rate
        assert set(optimizer.own_settings) <= set(Settings.model_fields)
        assert optimizer.image_copies(settings) > optimizer.saved_copies(settings) > 0
    lbfgs = OPTIMIZERS["lbfgs"]
    assert lbfgs.image_copies(settings) - lbfgs.image_copies(settings, 5) == 4


def test_every_style_loss_describes_itself():
    assert set(STYLE_LOSSES) == {"gram", "w2"}
    for name, loss in STYLE_LOSSES.items():
        assert loss.name == name
        assert loss.label
        assert loss.formula
        assert loss.matrices > 0
        assert set(loss.own_settings) <= set(Settings.model_fields)
        assert set(loss.normalizations) <= {"relative", "gradient", "gatys"}
    assert "gatys" in STYLE_LOSSES["gram"].normalizations


def test_a_lazy_module_is_the_module_once_it_is_used():
    import fractions

    lazy = lazy_import("fractions")
    assert lazy.Fraction is fractions.Fraction
    with pytest.raises(AttributeError):
        _ = lazy.nothing_of_this_name


def test_two_classes_of_one_name_are_an_error(tmp_path, monkeypatch):
    package = tmp_path / "twice"
    package.mkdir()
    (package / "__init__.py").touch()
    for module in ("first", "second"):
        (package / f"{module}.py").write_text(
            "from nstcore.core.minimize import Minimizer\n\n\n"
            "class Other(Minimizer):\n    name = 'other'\n"
        )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(TypeError, match="same name 'other'"):
        discover("twice", [str(package)], Minimizer)
