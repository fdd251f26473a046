# docker build -t torchrl-lite . && docker run --rm torchrl-lite
# --build-arg TORCH_INDEX=ADDRESS takes torch from there: the index of CPU builds on its install page is
# much smaller than the default.
# The container runs the tests; `docker run --rm torchrl-lite torchrl-lite --help` runs the command.
FROM python:3.11-slim
ARG TORCH_INDEX=""

RUN apt-get update \
    && apt-get install --yes --no-install-recommends libegl1 libosmesa6 git \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /torchrl_lite
COPY requirements.txt requirements-dev.txt ./
# Without "-e .", these layers depend on the pinned versions only.
RUN sed -i '/^-/d' requirements.txt requirements-dev.txt \
    && pip install --no-cache-dir ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} \
        "$(grep '^torch==' requirements.txt)" \
    && pip install --no-cache-dir -r requirements.txt -r requirements-dev.txt

COPY . .
RUN pip install --no-cache-dir --no-deps -e .

CMD ["python", "-m", "pytest"]
