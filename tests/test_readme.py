"""The commands of both READMEs run as they are written, on miniatures and shortened by options."""
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
READMES = ("README.md", "README_cn.md")
SHORT = ["-o", "network.base_channels=8", "data.clip_len=2", "data.short_side=32", "data.train_size=32",
         "data.test_size=32", "data.test_clips=1", "train.workers=0", "train.batch_size=2"]
DEEP = ["network.depth=18"]
TRAIN = ["train.max_steps=1", "train.epochs=1", "train.precise_bn_every=0"]


def commands(readme: str) -> list[str]:
    """Every line of the bash blocks, comments taken off."""
    blocks = re.findall(r"```bash\n(.*?)```", (ROOT / readme).read_text(encoding="utf-8"), re.DOTALL)
    lines = [line.split("  #")[0].split("    #")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line]


@pytest.fixture(scope="module")
def checkout(miniature, tmp_path_factory):
    """A folder that looks like a fresh checkout: what commands write stays out of the repository."""
    folder = tmp_path_factory.mktemp("checkout")
    for entry in ROOT.iterdir():
        if entry.name not in ("data", "output", "report", ".git", ".venv"):
            (folder / entry.name).symlink_to(entry)
    (folder / "data").mkdir()
    (folder / "data" / "mini_ucf101").symlink_to(miniature("ucf101"))
    return folder


def run(checkout, line, *more):
    words = [sys.executable, *line.split()[1:], *more]
    done = subprocess.run(words, cwd=checkout, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{line}\n{done.stdout[-1500:]}\n{done.stderr[-1500:]}"
    return done.stdout


def test_both_readmes_have_the_same_commands():
    english, chinese = (commands(name) for name in READMES)
    assert english == chinese


def test_make_targets_exist():
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    used = {line.split()[1] for line in commands("README.md") if line.startswith("make ")}
    assert used and used <= set(targets)


def test_everyday_commands(checkout):
    lines = [line for line in commands("README.md") if "configs/mvf/mini.yaml" in line]
    assert [line.split()[1] for line in lines] == ["train.py", "test.py", "predict.py"]
    for line in lines:
        run(checkout, line, *SHORT, *(TRAIN if "train.py" in line else []))
    assert (checkout / "output/mvf/mini/predict/prediction.json").is_file()


def test_the_predecessors_command_lines(checkout, miniature, tmp_path):
    weights = tmp_path / "out" / "best" / "model.pdparams"
    lines = {line.split()[1]: line for line in commands("README.md") if re.search(r" [DPVO]( |$)", line)}
    assert set(lines) >= {"train.py", "test.py", "predict.py", "export_model.py", "deploy/infer.py"}
    video = sorted((miniature("ucf101") / "videos").rglob("*.avi"))[0]
    values = {"D": miniature("ucf101"), "P": weights, "V": video, "O": tmp_path / "exported"}

    def filled(script):
        return " ".join(str(values.get(word, word)) for word in lines[script].split())

    small = [*SHORT[:1], *DEEP, *SHORT[1:]]
    start = filled("train.py").replace(f"--pretrained {weights}", "")
    run(checkout, start, "--output_dir", str(tmp_path / "out"), *small, *TRAIN)
    run(checkout, filled("train.py"), "--output_dir", str(tmp_path / "again"), *small, *TRAIN)
    run(checkout, filled("test.py"), "--output_dir", str(tmp_path / "out"), *small)
    assert "Top1 class:" in run(checkout, filled("predict.py"), "--save_dir", str(tmp_path / "p"), *small)
    run(checkout, filled("export_model.py"), *small)
    assert "top-1 class" in run(checkout, filled("deploy/infer.py"))


def test_linked_files_exist():
    for name in READMES:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", (ROOT / name).read_text(encoding="utf-8")):
            assert (ROOT / target).exists(), f"{name} links to {target}"


def test_each_system_has_a_row():
    from systems import SYSTEMS

    for name in READMES:
        text = (ROOT / name).read_text(encoding="utf-8")
        for system in SYSTEMS:
            assert f"| `{system}` |" in text, f"{name} has no row for {system}"
