"""
A network of one's own
======================

Which network suits images of 8 x 8 pixels? Four variational autoencoders of scikit-learn's digits differ in the layers
next to the pixels: affine, convolutional, residual, and one that is built here. The picture shows the log-density of
held-out digits, and digits that each model draws.
"""

# %%
# A builder gets the sizes of a layer and returns a module for it. The rest is up to the estimator: it puts the module
# where the pixels are read or written, draws its weights by ``random_state``, and trains it with all other layers. A
# builder with arguments is a dataclass: it has a readable ``repr``, and can be cloned, compared, and pickled.
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

from skdgm import VAE


# [builder]
@dataclass(frozen=True)
class RowsAndColumns:
    """Maps the rows of an image to ``width`` features, and then its columns: few weights, which see the whole image."""

    width: int = 16

    def __call__(self, sizes):
        height, width, _ = sizes.image_shape
        if sizes.role == "decoder":  # writes pixels
            return nn.Sequential(
                nn.Linear(sizes.n_inputs, self.width**2),
                nn.Unflatten(1, (self.width, self.width)),
                nn.SiLU(),
                nn.Linear(self.width, height),
                Transposed(),
                nn.SiLU(),
                nn.Linear(self.width, width),
                nn.Flatten(),
            )
        return nn.Sequential(  # of an encoder or a classifier: reads pixels
            nn.Unflatten(1, (height, width)),
            nn.Linear(width, self.width),
            nn.SiLU(),
            Transposed(),
            nn.Linear(height, self.width),
            nn.SiLU(),
            nn.Flatten(),
            nn.Linear(self.width**2, sizes.n_outputs),
        )


class Transposed(nn.Module):
    """Swaps the rows and columns of images."""

    def forward(self, x):
        return x.mT


# [end of builder]

# %%
# All four models have one hidden layer of 100 units between the pixels and the codes, and the same number of epochs.
X, _ = load_digits(return_X_y=True)
X_train, X_test = train_test_split(X / 16, test_size=0.3, random_state=0)
networks = {"mlp": "mlp", "conv": "conv", "resnet": "resnet", "RowsAndColumns(16)": RowsAndColumns(16)}
models = {
    name: VAE(
        10,
        network=network,
        image_shape=(8, 8),
        hidden_layer_sizes=(100,),
        max_iter=80,
        early_stopping=False,
        random_state=0,
    ).fit(X_train)
    for name, network in networks.items()
}
density = {name: model.score(X_test) for name, model in models.items()}

# %%
# Gray pixels are read as probabilities of white, so the densities compare the models, but are none of gray images.
figure, axes = plt.subplots(len(models), 1, figsize=(6, 4.2), layout="constrained")
for (name, model), ax in zip(models.items(), axes, strict=True):
    codes = model.sample_codes(12, random_state=0)
    ax.imshow(np.hstack(model.inverse_transform(codes).reshape(12, 8, 8)), cmap="gray_r")
    ax.set_title(f"{name}: {density[name]:.1f} nats per held-out digit", loc="left", fontsize="medium")
    ax.axis("off")
figure.suptitle("digits decoded from drawn codes", fontsize="medium")
plt.show()
