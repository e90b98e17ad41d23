# prune on a CPU. Networks of timm, transformers or ultralytics: docker build --build-arg EXTRAS='[timm,hf]'
#
# pip's default build of torch for Linux brings the libraries of CUDA, several GB. The address of the index with the CPU
# builds (it is on the installation page of PyTorch) makes it smaller: --build-arg PIP_EXTRA_INDEX_URL=ADDRESS
FROM python:3.12-slim

ARG EXTRAS=""
ARG PIP_EXTRA_INDEX_URL=""

COPY pyproject.toml README.md LICENSE /src/
COPY prunecli /src/prunecli
RUN PIP_EXTRA_INDEX_URL="$PIP_EXTRA_INDEX_URL" pip install --no-cache-dir "/src$EXTRAS" && rm -rf /src

RUN useradd --create-home --uid 1000 prune
USER prune
WORKDIR /work

ENTRYPOINT ["prune"]
CMD ["--help"]
