"""The tables of the originals' flags name options that exist."""
import re
from pathlib import Path

import pytest

from engine import config as configuration
from systems import SYSTEMS, find_system

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("name", SYSTEMS)
def test_options_in_the_table_exist(name):
    text = (ROOT / "docs" / "flags" / f"{name}.md").read_text(encoding="utf-8")
    known = {path for path, *_ in configuration.options(find_system(name).Config)}
    sections = {path.split(".")[0] for path in known if "." in path}
    ours = "\n".join(row.split("|", 2)[-1] for row in text.splitlines() if row.startswith("|"))
    named = {token.split("=")[0].split(":")[0].strip() for token in re.findall(r"`([^`]+)`", ours)}
    dotted = {token for token in named if re.fullmatch(r"[a-z0-9_]+(\.[a-z0-9_]+)+", token)
              and token.split(".")[0] in sections}
    assert len(dotted) >= 5, f"docs/flags/{name}.md names hardly any option"
    assert dotted <= known, f"docs/flags/{name}.md names options that do not exist: {sorted(dotted - known)}"
