"""What both sides of the CLIP systems record inside their towers, in our side's layout. NumPy only.

The twins store tokens first, run every token of every sentence and append X-CLIP's message token; ours stores the batch
first, cuts sentences behind the longest one and computes of a tower's last block only the token that is read.
"""
from __future__ import annotations

import re

import numpy as np

# Every block, and the layers in it that both sides call as layers.
RECORDED = re.compile(r"(?:^|\.)(resblocks\.\d+|decoder\.\d+|ln_pre|ln_final|ln_1|ln_2|message_fc|message_ln|"
                      r"message_attn|attn|c_fc|c_proj|lstm_visual\.0)(#\d+)?$")
_OF_TOWER = re.compile(r"(.*resblocks)\.(\d+)(?:\.|$)")
_ALL_TOKENS = re.compile(r"ln_1$")  # computed for every token in a last block too


def ours(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The recorded outputs of our side."""
    return {name: array for name, array in arrays.items() if RECORDED.search(name)}


def twins(arrays: dict[str, np.ndarray], end: np.ndarray, whole: tuple[str, ...] = ()) -> dict[str, np.ndarray]:
    """The twin's recorded outputs as ours has them.

    Args:
        arrays: by module name, as recorded; of a module that gives a tuple the first part counts.
        end: of each sentence, the place of the token that is read.
        whole: towers (``NAME.resblocks``) whose last block gives every token on our side too.
    """
    arrays = {re.sub(r"attn\.0(?=#|$)", "attn", name): array for name, array in arrays.items()}
    names = [name for name in arrays if RECORDED.search(name)]
    last: dict[str, int] = {}
    for match in filter(None, map(_OF_TOWER.search, names)):
        last[match[1]] = max(int(match[2]), last.get(match[1], 0))
    made = {}
    for name in names:
        match = _OF_TOWER.search(name)
        array = arrays[name]
        if match is None:
            made[name] = _sentences(array, name, end, read=True) if name == "ln_final" else array
            continue
        if not name.endswith("message_fc"):  # of class tokens alone: it has no axis of tokens
            array = array.transpose(1, 0, 2)  # N L W
        read = int(match[2]) == last[match[1]] and match[1] not in whole and not _ALL_TOKENS.search(name)
        if name.startswith("transformer."):
            made[name] = _sentences(array, name, end, read)
        else:
            made[name] = array[:, :1] if read and match[1].startswith("visual.") else array
    return made


def _sentences(array: np.ndarray, name: str, end: np.ndarray, read: bool) -> np.ndarray:
    return array[np.arange(len(end)), end][:, None] if read else array[:, :int(end.max()) + 1]


def without_message(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """X-CLIP's twin appends the message to the tokens of a frame; ours has it apart, normed by a second call."""
    made = {}
    for name, array in arrays.items():  # N 1+n+1 W
        if re.search(r"visual\..*resblocks\.\d+\.ln_1$", name):
            made[name], made[f"{name}#2"] = array[:, :-1], array[:, -1:]
        elif re.search(r"visual\..*resblocks\.\d+\.attn$", name):
            made[name] = array[:, :-1]
        else:
            made[name] = array
    return made
