"""A folder is recognised as a checkout, and its commit is told."""
from __future__ import annotations

import dataclasses
import shutil

import pytest

from alignment.upstream.checkout import Checkout
from alignment.upstream.originals import ORIGINALS
from tests.alignment.upstream.conftest import git

MVF = ORIGINALS["mvf"]


def test_another_commit_than_the_one_that_ours_follows_is_told(checkout):
    read = Checkout.read(MVF, checkout)
    assert read.commit == git(checkout, "rev-parse", "HEAD")
    assert not read.expected
    assert f"NOT {MVF.commit}" in read.tell()


def test_the_commit_that_ours_follows_is_told(checkout):
    same = dataclasses.replace(MVF, commit=git(checkout, "rev-parse", "HEAD"))
    read = Checkout.read(same, checkout)
    assert read.expected
    assert "the one that ours follows" in read.tell()


def test_changed_python_files_are_told(checkout):
    (checkout / "codes" / "models" / "builder.py").write_text("x = 1\n")
    same = dataclasses.replace(MVF, commit=git(checkout, "rev-parse", "HEAD"))
    read = Checkout.read(same, checkout)
    assert not read.expected
    assert "with changed .py files" in read.tell()
    assert read.short.endswith("+changes")


def test_a_folder_without_git_has_an_unknown_commit(checkout):
    shutil.rmtree(checkout / ".git")
    assert "commit unknown" in Checkout.read(MVF, checkout).tell()


def test_the_commit_of_a_repository_around_it_is_not_its_own(checkout):
    shutil.rmtree(checkout / ".git")
    git(checkout.parent, "init", "-q")
    git(checkout.parent, "commit", "-qm", "around", "--allow-empty")
    assert Checkout.read(MVF, checkout).commit is None


def test_a_folder_that_is_something_else_says_which_file_is_missing(checkout):
    with pytest.raises(FileNotFoundError, match=r"codes/models/builder\.py is missing; the folder holds .*core"):
        Checkout.read(MVF, checkout / "codes")


def test_an_absent_folder_says_how_to_get_one(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"git clone https://github\.com/whwu95/MVFNet"):
        Checkout.read(MVF, tmp_path / "none")
