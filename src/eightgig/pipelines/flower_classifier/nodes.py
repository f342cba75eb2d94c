"""What is particular to the flower classifier: nothing but its parameters, so it is a classifier like any other."""

from eightgig.stages.classification.case import PictureClassifier


class FlowerClassifier(PictureClassifier):
    """A torchvision or timm classifier on square crops of photos."""
