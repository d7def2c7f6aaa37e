# One image for every service; docker-compose.yml says which of them a container runs.

# The wheel, made by the locked build backend: left to itself, pip would fetch whichever is newest.
FROM python:3.11-slim-bookworm AS wheel
WORKDIR /build
COPY requirements-dev.txt ./
RUN pip install --no-cache-dir --require-hashes --requirement requirements-dev.txt
COPY pyproject.toml README.md LICENSE ./
COPY events ./events
COPY projections ./projections
COPY services ./services
RUN pip wheel --no-deps --no-build-isolation --wheel-dir dist .

FROM python:3.11-slim-bookworm

RUN apt-get update \
    && apt-get install --yes --no-install-recommends bubblewrap git openssh-client util-linux \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 autopack \
    # Open to any user: a container may run as whoever owns the repositories, and new volumes become as these are.
    && install --directory --mode=1777 /var/lib/autopack /srv/artifacts /srv/run-files

WORKDIR /opt/autopack
COPY requirements.txt ./
RUN pip install --no-cache-dir --require-hashes --requirement requirements.txt
COPY --from=wheel /build/dist ./
RUN pip install --no-cache-dir --no-index --no-deps *.whl

USER autopack
ENV AUTOPACK_HOME=/var/lib/autopack
EXPOSE 8000
ENTRYPOINT ["autopack"]
CMD ["up"]
