"""Every published configuration loads, builds its system, and round-trips."""
from pathlib import Path

import pytest
import yaml

from engine import config as configuration
from systems import SYSTEMS, find_system

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "configs").rglob("*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT / "configs")))
def test_loads_and_round_trips(path, tmp_path):
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert path.read_text(encoding="utf-8").startswith("system: "), "the first line names the system"
    system_class = find_system(content["system"])
    config = configuration.load(system_class.Config, path)
    system_class(config)
    (tmp_path / "again.yaml").write_text(configuration.dump(config), encoding="utf-8")
    assert configuration.load(system_class.Config, tmp_path / "again.yaml") == config


@pytest.mark.parametrize("name", SYSTEMS)
def test_every_system_has_a_published_and_a_mini_run(name):
    files = {path.stem for path in FILES if path.parent.name == name}
    assert any(stem.startswith("mini") for stem in files)
    assert any(not stem.startswith("mini") for stem in files)


@pytest.mark.parametrize("name", SYSTEMS)
def test_every_option_explains_itself(name):
    for path, _, _, metadata in configuration.options(find_system(name).Config):
        assert metadata.get("help"), f"{name}: {path} has no help"
    assert "train.batch_size" in configuration.explain(find_system(name).Config)


@pytest.mark.parametrize("name", SYSTEMS)
def test_short_flags_exist_in_every_system(name):
    from systems.command_line import SHORT_FLAGS

    names = {path for path, *_ in configuration.options(find_system(name).Config)}
    assert {key for key, _ in SHORT_FLAGS.values()} <= names


def test_unknown_system_names_the_nearest():
    with pytest.raises(ValueError, match="did you mean mvf"):
        find_system("mfv")
