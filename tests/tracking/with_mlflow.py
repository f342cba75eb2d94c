"""A plugin of pytest for `make mutants`: MLflow is imported once, before a process is forked for each mutant."""

from eightgig.tracking.server import import_mlflow

import_mlflow("sqlite://")
