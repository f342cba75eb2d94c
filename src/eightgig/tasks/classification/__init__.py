"""What all classifiers of images share: their answers to the stages, their own stages, and their part of the page."""
