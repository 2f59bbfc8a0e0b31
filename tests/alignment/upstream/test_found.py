"""Imports from a checkout: whose modules they are, and what a failure says."""
from __future__ import annotations

import sys

import pytest

from alignment.upstream import found


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder whose modules can be imported for the length of a test."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(found, "FOLDERS", [])
    before = dict(sys.modules)
    yield tmp_path
    sys.modules.clear()
    sys.modules.update(before)


def write(folder, **texts):
    for name, text in texts.items():
        (folder / f"{name}.py").write_text(text)
    found.enter(folder)


def test_the_checkouts_modules_come_before_ours(folder):
    import losses
    (folder / "losses").mkdir()
    (folder / "losses" / "__init__.py").write_text("theirs = True\n")
    write(folder)
    assert found.original("losses", "theirs")
    assert not hasattr(losses, "theirs")  # whoever holds ours keeps it


def test_equal_names_of_two_folders_are_two_modules(folder):
    for name, text in (("a", "value = 1\n"), ("b", "value = 2\n")):
        (folder / name).mkdir()
        (folder / name / "madeup_part.py").write_text(text)
    values = []
    for name in ("a", "b"):
        found.enter(folder / name)
        values.append(found.original("madeup_part", "value"))
    assert values == [1, 2]


def test_a_missing_package_is_named_with_the_line_that_wants_it(folder):
    write(folder, madeup_net="x = 1\nimport neverwas.deep\n")
    with pytest.raises(found.CannotImport, match=r"the package neverwas \(.*madeup_net\.py, line 2\).*pip install"):
        found.original("madeup_net")


def test_a_missing_file_of_the_checkout_is_named(folder):
    (folder / "madeup").mkdir()
    write(folder, madeup_net="from madeup.block import Block\n")
    with pytest.raises(found.CannotImport, match=r"no module madeup\.block .*madeup_net\.py, line 1.*madeup/block\.py"):
        found.original("madeup_net")


def test_a_missing_name_asks_for_the_commit(folder):
    write(folder, madeup_net="x = 1\n")
    with pytest.raises(found.CannotImport, match=r"madeup_net\.py has no Network: is the checkout at the commit"):
        found.original("madeup_net", "Network")


def test_another_version_of_a_package_is_told_from_a_missing_one(folder):
    write(folder, madeup_net="from json import never_there\n")
    with pytest.raises(found.CannotImport, match=r"The installed json is not the version .* --shim json"):
        found.original("madeup_net")
