from dataclasses import dataclass

import pytest

from engine.config import ConfigError, RunConfig, TrainConfig, build, dump, explain, load, option


@dataclass(frozen=True)
class Rates:
    lr: float = option(0.1, "rate", low=0.0)
    milestones: list[int] = option([3, 5], "epochs", low=1)


@dataclass(frozen=True)
class Config(RunConfig):
    system: str = option("toy", "name")
    mode: str = option("a", "kind", choices=("a", "b"))
    optimizer: Rates = option(Rates, "rates")

    def __post_init__(self):
        if self.mode == "b" and self.optimizer.lr > 1:
            raise ConfigError("mode b needs optimizer.lr of at most 1")


def written(tmp_path, text):
    (tmp_path / "run.yaml").write_text(text)
    return tmp_path / "run.yaml"


def test_file_then_overrides(tmp_path):
    config = load(Config, written(tmp_path, "system: toy\noptimizer: {lr: 1e-3}\ntrain: {epochs: 7}\n"),
                  ["optimizer.milestones=[1,2]", "pretrained=a.pdparams", "mode=b"])
    assert config.optimizer == Rates(1e-3, [1, 2])
    assert (config.train.epochs, config.train.batch_size) == (7, TrainConfig().batch_size)
    assert (config.pretrained, config.mode) == ("a.pdparams", "b")


@pytest.mark.parametrize(("text", "message"), [
    ("optimiser: {lr: 1}", "optimiser: no such option in Config; did you mean optimizer?"),
    ("optimizer: {rl: 1}", "optimizer.rl: no such option in Rates; did you mean optimizer.lr?"),
    ("lr: 1", "did you mean optimizer.lr?"),
    ("optimizer: {lr: fast}", "optimizer.lr: expected a number, found 'fast'"),
    ("optimizer: {lr: -1}", "optimizer.lr: -1.0 is below 0"),
    ("optimizer: {milestones: [0]}", "0 is below 1"),
    ("optimizer: 3", "expected options by name"),
    ("mode: c", "'c' is not one of a, b"),
    ("train: {epochs: 2.5}", "train.epochs: expected int, found 2.5"),
    ("train: {epochs: true}", "train.epochs: expected int, found True"),
    ("{mode: b, optimizer: {lr: 2}}", "mode b needs"),
    ("- 1", "expected options by name, found list"),
    ("a: [", "is not valid YAML")])
def test_impossible_files_are_refused(tmp_path, text, message):
    with pytest.raises(ConfigError) as error:
        load(Config, written(tmp_path, text))
    assert message in str(error.value) and "run.yaml" in str(error.value)


@pytest.mark.parametrize(("override", "message"), [
    ("optimizer.lrr=1", "optimizer.lrr: no such option; did you mean optimizer.lr?"), ("mode", "expected KEY=VALUE"),
    ("seed.x=1", "has no options of its own"), ("optimizer=1", "expected options by name"), ("seed=x", "expected int")])
def test_impossible_overrides_are_refused(override, message):
    with pytest.raises(ConfigError, match="-o") as error:
        load(Config, None, [override])
    assert message in str(error.value)


def test_missing_file_names_its_neighbours(tmp_path):
    written(tmp_path, "system: toy")
    with pytest.raises(FileNotFoundError, match=r"run\.yaml"):
        load(Config, tmp_path / "runn.yaml")


def test_another_system_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="expected toy"):
        load(Config, written(tmp_path, "system: mvf"), system="toy")


def test_dump_loads_to_an_equal_config(tmp_path):
    config = load(Config, None, ["mode=b", "optimizer.lr=0.25"])
    assert load(Config, written(tmp_path, dump(config))) == config


def test_help_shows_every_option_with_its_default():
    text = explain(Config)
    assert "optimizer.milestones=[3, 5]" in text and "train.accumulate=1" in text and "[a, b]" in text


def test_lists_are_not_shared():
    build(Config, {}).optimizer.milestones.append(9)
    assert build(Config, {}).optimizer.milestones == [3, 5]
