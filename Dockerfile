# p2pmail in a container: one machine of a domain, whatever its roles. All its data is in the volume /srv/p2pmail;
# nothing else is written but /tmp, so run it with a read-only root and a tmpfs there. docker-compose.yml shows how.

FROM python:3.11-slim-bookworm AS build
WORKDIR /build
COPY requirements.lock ./
# every distribution is checked against its hash here
RUN pip wheel --no-cache-dir --require-hashes --wheel-dir wheels -r requirements.lock
COPY pyproject.toml README.md ./
COPY p2pcore p2pcore
COPY gateway gateway
RUN python -m venv /opt/p2pmail \
    && /opt/p2pmail/bin/pip install --no-cache-dir --no-index --find-links wheels . \
    && /opt/p2pmail/bin/pip uninstall --yes pip setuptools \
    && /opt/p2pmail/bin/python -m compileall -q /opt/p2pmail/lib

FROM python:3.11-slim-bookworm
RUN groupadd --gid 4466 p2pmail \
    && useradd --uid 4466 --gid p2pmail --no-create-home --home-dir /srv/p2pmail --shell /usr/sbin/nologin p2pmail \
    && install --directory --owner p2pmail --group p2pmail --mode 0700 /srv/p2pmail /exchange
COPY --from=build /opt/p2pmail /opt/p2pmail
ENV PATH=/opt/p2pmail/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
# a number, so that a platform can see that it is not root
USER 4466:4466
# where commands find p2pmail.toml without -c
WORKDIR /srv/p2pmail
VOLUME /srv/p2pmail
# MX; node (both kinds); relay for the domain's agents; IMAP and submission
EXPOSE 25/tcp 4466/tcp 4466/udp 2465/tcp 1143/tcp 1993/tcp 1587/tcp 1465/tcp
ENTRYPOINT ["p2pmail"]
CMD ["run"]
