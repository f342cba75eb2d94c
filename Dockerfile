# eightgig with all that its pipelines need. PyTorch's wheels bring the CUDA runtime; the host brings the driver and the
# NVIDIA container toolkit:
#   docker build -t eightgig . && docker run --rm --gpus all -v "$PWD/data:/eightgig/data" eightgig
FROM python:3.11-slim-bookworm

# No pinned versions: Debian keeps only the newest of each.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends make git build-essential libgl1 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /eightgig
# What the environment depends on comes first, so that a change of the code leaves it in the cache.
COPY Makefile pyproject.toml requirements.lock requirements-sample-data.txt README.md ./
COPY src/eightgig/__init__.py src/eightgig/__init__.py
RUN make environment
COPY . .
RUN touch .venv/installed

ENV PATH=/eightgig/.venv/bin:$PATH
CMD ["kedro", "run", "--pipeline", "flower_classifier"]
