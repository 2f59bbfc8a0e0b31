"""Port a small PyTorch network to Paddle and find a mistake in the port: ``python -m examples.port_a_network``.

The port below makes a mistake that compiles, trains and scores well: it interpolates with other corners.
``docs/alignment_your_own.md`` walks through the output.
"""
import numpy as np
import paddle
import paddle.nn.functional as PF
import torch
import torch.nn.functional as TF

import alignment


class Reference(torch.nn.Module):
    """The network to be ported: a stem, a block at half size, a head."""

    def __init__(self):
        super().__init__()
        self.stem = torch.nn.Conv2d(3, 8, 3, padding=1)
        self.down = torch.nn.Sequential(torch.nn.Conv2d(8, 8, 3, 2, 1), torch.nn.BatchNorm2d(8), torch.nn.ReLU())
        self.mix = torch.nn.Conv2d(8, 8, 1)
        self.classifier = torch.nn.Sequential(torch.nn.LayerNorm(8), torch.nn.Linear(8, 8), torch.nn.GELU(),
                                              torch.nn.Linear(8, 5))

    def forward(self, image):
        x = TF.relu(self.stem(image))
        small = self.down(x)
        x = x + self.mix(TF.interpolate(small, x.shape[2:], mode="bilinear", align_corners=False))
        return self.classifier(x.mean((2, 3)))


class Port(paddle.nn.Layer):
    """The same in Paddle; its author called the classifier ``head``."""

    def __init__(self, align_corners):
        super().__init__()
        self.align_corners = align_corners
        self.stem = paddle.nn.Conv2D(3, 8, 3, padding=1)
        self.down = paddle.nn.Sequential(paddle.nn.Conv2D(8, 8, 3, 2, 1), paddle.nn.BatchNorm2D(8), paddle.nn.ReLU())
        self.mix = paddle.nn.Conv2D(8, 8, 1)
        self.head = paddle.nn.Sequential(paddle.nn.LayerNorm(8), paddle.nn.Linear(8, 8), paddle.nn.GELU(),
                                         paddle.nn.Linear(8, 5))

    def forward(self, image):
        x = PF.relu(self.stem(image))
        small = self.down(x)
        x = x + self.mix(PF.interpolate(small, x.shape[2:], mode="bilinear", align_corners=self.align_corners))
        return self.head(x.mean((2, 3)))


NAMES = {"head": "classifier"}  # the port's names -> the reference's, wherever they differ
ALLOWED = [alignment.Allowance(r"running_var$", "Paddle's batch norm keeps the biased variance, PyTorch's the unbiased",
                               float32=0.2, float64=0.2)]


def compare(port):
    """Weights, forward, backward and five steps of training; the findings of each."""
    torch.manual_seed(0)
    reference = Reference()
    reference.down[1].running_mean.uniform_(-0.5, 0.5)  # statistics as they are after training: zeros hide faults
    reference.down[1].running_var.uniform_(0.5, 1.5)
    alignment.copy_weights(reference, port, NAMES)
    draw = np.random.default_rng(0)
    batch, labels = [draw.normal(size=(4, 3, 22, 18))], np.array([0, 3, 1, 4])  # odd at half size: corners matter
    loss = (lambda scores: TF.cross_entropy(scores, torch.from_numpy(labels)),
            lambda scores: PF.cross_entropy(scores, paddle.to_tensor(labels)))
    optimizer = (lambda network: torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=0.05),
                 lambda network: paddle.optimizer.AdamW(1e-3, parameters=network.parameters(), weight_decay=0.05))
    return [alignment.compare_forward(reference, port, batch, NAMES),
            alignment.compare_backward(reference, port, batch, NAMES, loss=loss),
            alignment.compare_training(reference, port, batch, NAMES, loss=loss, optimizer=optimizer,
                                       allowances=ALLOWED)]


def main():
    """Show the findings with the mistake, then without it."""
    for title, align_corners in (("A port with a mistake", True), ("The same, corrected", False)):
        print(f"== {title}")
        print(alignment.write_report(*compare(Port(align_corners))))


if __name__ == "__main__":
    main()
