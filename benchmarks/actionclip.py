"""How fast is ActionCLIP: the text tower cut to the sentences, and the exported video graph against PyTorch?

    python -m benchmarks.actionclip [--threads 1] [--rounds 5] [--arch ViT-B/32] [--frames 8] [--names 400]
                                  [--report FOLDER]

The text contest runs the 400 prompted names of Kinetics-400, sorted by length, in batches of 50: at 77 positions, and
each batch cut to its longest sentence. Weights are random, which does not change the time.
"""
from __future__ import annotations

from benchmarks.video_text import main

if __name__ == "__main__":
    main("actionclip", __doc__)
