"""Write an untrained propagation network of the mini run, for chains that need one beside the part they train.

    python test_tipc/mivos_weights.py FILE.pdparams
"""
from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__" and not __package__:  # started as a file: imports begin at the repository
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import paddle

from engine.config import load
from systems.mivos import Mivos, MivosConfig


def main() -> None:
    target = Path(sys.argv[1])
    target.parent.mkdir(parents=True, exist_ok=True)
    paddle.seed(0)
    network = Mivos(load(MivosConfig, "configs/mivos/mini.yaml")).network()
    paddle.save(network.state_dict(), str(target))
    print(f"wrote {target}")


if __name__ == "__main__":
    main()
