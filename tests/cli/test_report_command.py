"""``nst report``: a run that is half-finished, or not even begun."""

import json
from pathlib import Path

import pytest
from synthetic import write_run

from nstcore.cli import main
from nstcore.plan.snapshot import read_plan, write_snapshot


def test_a_run_is_watched_until_it_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run = write_run(Path("results"), styles=["night"], contents=["cat"], axes={})
    inputs = f"contents: {{cat: {run}/inputs/contents/cat/64.png}}\n"
    inputs += f"styles: {{night: {run}/inputs/styles/night/0.png}}\n"
    (run / "config.yaml").write_text(f"run: demo\n{inputs}")
    write_snapshot(read_plan(run / "config.yaml"))
    assert main(["report", str(run)]) == 0
    capsys.readouterr()
    assert main(["report", str(run), "--watch"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said == ["results/demo/live/index.html", "results/demo/report/index.html"]
    (run / "config.yaml").unlink()
    assert main(["report", str(run), "--watch"]) == 1
    assert "no run has started there" in capsys.readouterr().err


def test_a_run_under_way_has_a_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run = write_run(Path("results"), styles=["night"], contents=["cat"])
    config = Path("my.yaml")
    config.write_text(
        f"run: demo\ncontents: {{cat: {run}/inputs/contents/cat/64.png}}\n"
        f"styles: {{night: {run}/inputs/styles/night/0.png}}\n"
        "sweep: {axes: {style_weight: [1, 10, 100]}}\nreport: {single_file: yes}\n"
    )
    (run / "config.yaml").unlink()
    assert main(["report", "my.yaml"]) == 1
    assert "nst run" in capsys.readouterr().err
    write_snapshot(read_plan(config))
    sorted((run / "cells").rglob("*.json"))[1].unlink()
    assert main(["report", "my.yaml"]) == 0
    assert capsys.readouterr().out == "results/demo/report/index.html\n"
    html = (run / "report" / "index.html").read_text()
    data = json.loads(html.split('id="data">')[1].split("</script>")[0])
    assert data["cells"]["status"] == ["ok", "missing", "ok"]
    assert "thumbs/" in " ".join(data["inline"]["pictures"])
    assert "../sheets/all.png" in data["files"]
    assert "nst reproduce results/demo/cells" in data["inline"]["records"][0][0]["command"]
