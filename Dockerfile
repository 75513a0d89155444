# One image for the web server, the workers and the migrations.
FROM python:3.11-slim

# Where pip finds torch for the hardware at hand; empty takes pip's default.
ARG TORCH_INDEX_URL=""

RUN useradd --create-home --uid 1000 palimpsest && install -d -o palimpsest /data
WORKDIR /srv/palimpsest

# What changes seldom comes first, so that a change of code does not install torch again.
COPY pyproject.toml constraints.txt LICENSE README.md ./
RUN pip install --no-cache-dir -c constraints.txt \
        ${TORCH_INDEX_URL:+--index-url "$TORCH_INDEX_URL"} torch \
    && pip install --no-cache-dir -c constraints.txt -e .

COPY app app
COPY cli cli
COPY interp interp
COPY jobs jobs
COPY models models
COPY workers workers
COPY migrations migrations
COPY static static
COPY templates templates
COPY demo demo
RUN pip install --no-cache-dir --no-deps -e .

ENV PALIMPSEST_HOME=/data PALIMPSEST_HOST=0.0.0.0 HF_HOME=/data/huggingface PYTHONUNBUFFERED=1
VOLUME /data
EXPOSE 8000
USER palimpsest
CMD ["python", "-m", "app.server", "--host", "0.0.0.0", "--port", "8000", "--workers", "2", \
     "--no-access-log"]
