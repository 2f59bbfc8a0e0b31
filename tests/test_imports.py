"""The floors of the house: an import goes down, never up or sideways."""
import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("alignment", "benchmarks", "datasets", "deploy", "engine", "losses", "metrics", "models", "systems")
SCRIPTS = ("train", "test", "predict", "export_model")
# Beside the layers: readers and converters of weights serve every network and know none.
GROUND = ("models.layers", "models.backbones", "models.heads", "models.conversion", "models.weights")
FILES = sorted(path for room in (*ROOMS, *(f"{name}.py" for name in SCRIPTS))
               for path in ([ROOT / room] if room.endswith(".py") else (ROOT / room).rglob("*.py")))


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def floor_and_room(name: str) -> tuple[int, str]:
    """(floor, room) of one of our modules; equal rooms may import each other."""
    first = name.split(".")[0]
    if first in ("alignment", "benchmarks", *SCRIPTS) or name.endswith("__main__") or name == "deploy.infer":
        return 4, first
    if first == "systems":
        return 3, "systems"
    for ground in GROUND:
        if name == ground or name.startswith(ground + "."):
            return 1, "models"
    if name == "models.processor":  # what the package sets up for all networks
        return 0, "models"
    if first == "models" and name != "models":
        return 2, ".".join(name.split(".")[:2])  # each network is a room of its own
    return {"engine": 2, "deploy": 2, "models": 0}.get(first, 1), first


def imports(path: Path) -> set[str]:
    """Every module imported anywhere in the file (also inside functions)."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            for alias in node.names:
                submodule = ROOT.joinpath(*node.module.split("."), alias.name)
                is_module = submodule.with_suffix(".py").is_file() or submodule.is_dir()
                found.add(f"{node.module}.{alias.name}" if is_module else node.module)
    return found


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_imports_go_down(path):
    name = module_name(path)
    floor, room = floor_and_room(name)
    for imported in sorted(imports(path)):
        if imported.split(".")[0] not in (*ROOMS, *SCRIPTS):
            continue
        below, other = floor_and_room(imported)
        if name.startswith("benchmarks") and other == "alignment":
            continue  # the torch twin is what we are measured against
        assert below < floor or other == room, f"{name} (floor {floor}) imports {imported} (floor {below})"


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_torch_stays_in_its_rooms(path):
    name = module_name(path)
    if not name.startswith(("alignment", "benchmarks")) and name != "models.weights":
        assert not {module for module in imports(path) if module.split(".")[0] == "torch"}, f"{name} imports torch"


@pytest.mark.parametrize("path", [path for path in FILES if "datasets" in path.parts], ids=module_name)
def test_only_the_loader_knows_paddle(path):
    if path.name != "loader.py":
        assert not {module for module in imports(path) if module.split(".")[0] == "paddle"}


def test_losses_and_metrics_take_tensors_only():
    for path in FILES:
        if {"losses", "metrics"} & set(path.parts):
            ours = {module.split(".")[0] for module in imports(path)} & set(ROOMS)
            assert ours <= {"losses", "metrics"}, f"{path} imports {ours}"
