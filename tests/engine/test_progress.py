import io
import sys

from engine.progress import progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_summary_where_there_is_no_terminal(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert list(progress([1, 2, 3], "validate")) == [1, 2, 3]
    assert sys.stderr.getvalue() == ""
    assert "validate: 3 in " in capsys.readouterr().out
    assert list(progress(iter("ab"), "validate", 2, summary=False)) == ["a", "b"]
    assert list(progress([], "validate")) == []
    assert capsys.readouterr().out == ""


def test_a_bar_with_rate_and_time_left_on_a_terminal(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stderr", Terminal())
    items = progress(range(200), "train", initial=50, total=250)
    assert list(items) == list(range(200))
    shown = sys.stderr.getvalue()
    assert "train" in shown and "/250" in shown and "it/s" in shown and "<" in shown
    assert capsys.readouterr().out == ""
