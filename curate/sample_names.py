"""The bundled samples, in words, for lists that must not import numpy."""

from typing import Final

NAMES: Final = {
    "digits": "1,797 handwritten digits, 8x8 grey images in 10 classes (scikit-learn, CC BY 4.0)",
    "fashion": "6,000 clothing pictures of Fashion-MNIST, 28x28 grey images in 10 classes (MIT)",
    "snips": "5,700 spoken requests to an assistant, short texts in 7 intents (CC0)",
}
