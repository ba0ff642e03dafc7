FROM python:3.12-slim
WORKDIR /app
COPY requirements.txt .
RUN pip install --no-cache-dir --require-hashes -r requirements.txt
COPY celeryconfig.py Procfile ./
COPY claimx claimx
RUN useradd --system --create-home claimx && mkdir -p /var/cache/claimx && chown claimx /var/cache/claimx
USER claimx
